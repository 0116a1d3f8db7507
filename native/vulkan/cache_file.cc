#include <unistd.h>

#include <atomic>
#include <cstring>
#include <fstream>

#include "pipeline.h"

namespace attn::vulkan {
namespace {

struct Header {
  char magic[8];
  uint64_t bytes, hash;
};
constexpr char kMagic[8] = {'A', 'T', 'T', 'N', 'V', 'P', 'C', '1'};

}  // namespace

uint64_t hash_bytes(const void* data, size_t bytes, uint64_t hash) {
  const auto* at = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < bytes; ++i) hash = (hash ^ at[i]) * 0x100000001b3ull;
  return hash;
}

std::vector<uint8_t> read_cache_file(const std::filesystem::path& file, std::string& why) {
  std::error_code none;
  if (!std::filesystem::exists(file, none)) return {};
  std::ifstream in(file, std::ios::binary);
  Header header{};
  if (!in.read(reinterpret_cast<char*>(&header), sizeof header)) {
    why = "it cannot be read, or is shorter than its header";
  } else if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    why = "it is no pipeline cache of this version";
  } else if (const uintmax_t size = std::filesystem::file_size(file, none);
             none || header.bytes > size - sizeof header) {
    why = "it is shorter than it claims";
  } else {
    std::vector<uint8_t> data(header.bytes);
    in.read(reinterpret_cast<char*>(data.data()), static_cast<std::streamsize>(data.size()));
    if (in && hash_bytes(data.data(), data.size()) == header.hash) return data;
    why = "its contents do not match their checksum";
  }
  return {};
}

void write_cache_file(const std::filesystem::path& file, std::span<const uint8_t> data, std::string& why) {
  // Written beside its place and renamed: readers see the old file or the new one, never half of either.
  std::error_code failed;
  std::filesystem::create_directories(file.parent_path(), failed);
  auto draft = file;
  static std::atomic<unsigned> serial{0};
  draft += ".tmp" + std::to_string(getpid()) + "." + std::to_string(serial++);
  Header header{{}, data.size(), hash_bytes(data.data(), data.size())};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::ofstream out(draft, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&header), sizeof header);
  out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  out.close();
  if (out) std::filesystem::rename(draft, file, failed);
  if (out && !failed) return;
  why = failed ? failed.message() : "it cannot be written";
  std::filesystem::remove(draft, failed);
}

}  // namespace attn::vulkan
