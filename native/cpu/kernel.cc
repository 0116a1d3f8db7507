#include "kernel.h"

#include <map>

namespace attn::cpu {
namespace {
std::map<std::string, Factory, std::less<>>& registry() {
  static std::map<std::string, Factory, std::less<>> kernels;  // filled before main, read-only afterwards
  return kernels;
}
}  // namespace

bool register_kernel(const char* name, Factory factory) {
  registry()[name] = factory;
  return true;
}

Factory find_kernel(std::string_view name) {
  const auto found = registry().find(name);
  return found == registry().end() ? nullptr : found->second;
}

std::vector<std::string> kernel_names() {
  std::vector<std::string> names;
  for (const auto& [name, factory] : registry()) names.push_back(name);
  return names;
}

}  // namespace attn::cpu
