#include "cpu_info.h"

#include <fstream>
#include <sstream>

#include "../cpu/team.h"
#include "host_pool.h"

namespace attn::engine {

CpuInfo cpu_info() {
  CpuInfo info;
  info.model = "unknown";
  info.cores = cpu::available_cores();
  info.memory_bytes = host_memory_limit();
  std::ifstream file("/proc/cpuinfo");
  std::string flags;
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (line.starts_with("model name")) info.model = line.substr(colon + 2);
    if (line.starts_with("flags")) flags = line.substr(colon + 2);
    if (!flags.empty() && info.model != "unknown") break;
  }
  std::istringstream words(flags);
  for (std::string word; words >> word;)
    if (word.starts_with("avx") || word == "fma" || word == "f16c" || word == "sse4_2" ||
        word.starts_with("amx"))
      info.features.push_back(word);
  return info;
}

}  // namespace attn::engine
