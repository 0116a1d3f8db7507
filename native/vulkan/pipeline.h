// Compute pipelines by shader and specialisation constants, over one layout, with the driver's cache kept on
// disk.
#pragma once

#include <filesystem>
#include <map>
#include <unordered_map>

#include "core.h"

namespace attn::vulkan {

inline constexpr uint32_t kBindings = 8;     // storage buffers 0..7 of set 0
inline constexpr uint32_t kPushBytes = 128;  // {base, count} and 30 words

struct Pipeline {
  vk::raii::Pipeline handle{nullptr};
  std::string shader;
  uint32_t bindings = 0;  // what the shader declares: a launch must bind them all
};

class Pipelines {
 public:
  explicit Pipelines(Core&);
  ~Pipelines();  // saves the cache

  Pipeline* get(std::string_view shader, std::span<const uint32_t> spec);
  vk::PipelineLayout layout() const { return *layout_; }
  vk::DescriptorSetLayout set_layout() const { return *set_layout_; }

 private:
  struct Module {
    vk::raii::ShaderModule handle{nullptr};
    uint32_t bindings = 0;
  };
  const Module& module(std::string_view shader);
  std::unique_ptr<Pipeline> build(std::string_view shader, std::span<const uint32_t> spec);
  void open_cache();
  void save_cache();

  Core& core_;
  vk::raii::DescriptorSetLayout set_layout_{nullptr};
  vk::raii::PipelineLayout layout_{nullptr};
  vk::raii::PipelineCache cache_{nullptr};
  std::filesystem::path file_;  // empty: not kept
  uint64_t loaded_bytes_ = 0;   // of the cache as read
  std::map<std::string, Module, std::less<>> modules_;
  std::unordered_map<std::string, std::unique_ptr<Pipeline>> pipelines_;
};

// The driver's cache as a file: magic, version, size and hash of what follows, so that a truncated or altered
// file never reaches the driver. `read` returns what was kept, or nothing and why (empty when there is no
// file).
std::vector<uint8_t> read_cache_file(const std::filesystem::path&, std::string& why);
void write_cache_file(const std::filesystem::path&, std::span<const uint8_t>, std::string& why);
// FNV-1a, 64 bits.
uint64_t hash_bytes(const void* data, size_t bytes, uint64_t seed = 0xcbf29ce484222325ull);

}  // namespace attn::vulkan
