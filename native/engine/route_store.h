// What the router has learnt about a machine, kept between processes: one small text file per machine and
// build.
//
// The file lies in the cache folder under the hash of its key, repeats the key, and ends in a checksum line.
// It is written beside itself and renamed, so a reader sees the old file or the new one. Whatever is wrong
// with it (cannot be read, cut short, another key, a later schema, a figure that is not one) the whole file
// is ignored, the reason is returned for the caller to warn with, and the next save replaces it. A folder
// that cannot be written is a warning.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cost_model.h"

namespace attn {

// $ATTN_VK_CACHE, else $XDG_CACHE_HOME/attn-vk, else ~/.cache/attn-vk; empty where none of them is set.
std::string cache_folder();
// "model name" of the first processor; "unknown" where the system does not tell.
std::string cpu_model();

// Hash of everything whose change makes old figures worthless: names and code of all kernels.
class KernelHash {
 public:
  KernelHash& add(std::string_view text);
  KernelHash& add(std::span<const uint32_t> words);
  std::string hex() const;

 private:
  uint64_t state_ = 0xcbf29ce484222325u;  // FNV-1a, 64 bits
};

struct RouteKey {
  std::string kernels;      // KernelHash
  std::string device_uuid;  // empty: no Vulkan device
  std::string driver;       // name and version
  std::string cpu;
  unsigned threads = 0;
};

struct RouteData {
  std::string version;  // of the package that wrote it
  std::string created;  // ISO 8601, UTC; filled by save() where empty
  Calibration calibration;
  std::vector<Observation> observed;
  std::map<std::string, std::string> probes;  // GPU variant -> "" where it passed, else why it is blacklisted
};

struct RouteLoad {
  std::optional<RouteData> data;
  std::string warning;  // why an existing file was ignored; empty where there simply is none
};

class RouteStore {
 public:
  static constexpr int kSchema = 1;

  // An empty folder: nothing is loaded or saved, and nobody is warned.
  RouteStore(std::string folder, RouteKey key);
  const std::string& path() const { return path_; }

  RouteLoad load() const;                    // never throws
  std::string save(const RouteData&) const;  // a warning, or empty; never throws

 private:
  std::string folder_, path_;
  RouteKey key_;
};

}  // namespace attn
