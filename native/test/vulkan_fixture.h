// What the tests of the Vulkan backend share: a device that must stay silent, one kernel (shaders/fill.comp),
// and small helpers.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vulkan/device.h"

namespace attn::vulkan::test {

// The layer checks barriers as well: a hazard that the stream misses is a message even where the driver
// forgives it.
inline const bool synchronisation_is_checked =
    setenv("VK_LAYER_ENABLES", "VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT", 1) == 0;

inline std::unique_ptr<Device> open_device(Options options = {}) {
  REQUIRE(synchronisation_is_checked);
  options.validate = true;
  return Device::open(options);
}

// A device that must live and close without a validation message.
struct Checked {
  std::unique_ptr<Device> device;
  explicit Checked(Options options = {}) {
    if (!options.warn) options.warn = [](const std::string& text) { FAIL_CHECK(text); };
    device = open_device(std::move(options));
  }
  ~Checked() {
    for (const std::string& text : device->take_messages()) FAIL_CHECK(text);
  }
  Device* operator->() const { return device.get(); }
};

inline constexpr uint32_t kGroup = 64;

inline void fill(Device& device, Memory* memory, uint64_t offset, uint32_t words, uint32_t pattern,
                 double seconds = 0) {
  const uint32_t spec[] = {kGroup};
  const Binding bindings[] = {{memory, offset, words * 4ull, true}};
  const uint32_t push[] = {words, pattern};
  device.dispatch(device.pipeline("fill", spec), bindings, push, (words + kGroup - 1) / kGroup, seconds);
}

inline std::vector<uint32_t> read(Device& device, Memory* memory, size_t words, uint64_t offset = 0) {
  std::vector<uint32_t> out(words);
  device.download(memory, offset, out.data(), words * 4);
  return out;
}

// How many words differ from the expected one.
inline size_t wrong(const std::vector<uint32_t>& words, uint32_t expected) {
  return words.size() - static_cast<size_t>(std::count(words.begin(), words.end(), expected));
}

template <class F>
Error error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error;
  }
  return {"none", "nothing was thrown"};
}

struct TemporaryFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("attn-vk-test-" + std::to_string(getpid()));
  TemporaryFolder() { std::filesystem::create_directories(path); }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
};

struct Environment {  // sets a variable for one scope
  std::string name;
  std::optional<std::string> before;
  Environment(const char* n, const std::string& value) : name(n) {
    if (const char* old = getenv(n)) before = old;
    setenv(n, value.c_str(), 1);
  }
  ~Environment() { before ? setenv(name.c_str(), before->c_str(), 1) : unsetenv(name.c_str()); }
};

inline bool mentions(const std::vector<std::string>& lines, const std::string& text) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const std::string& line) { return line.find(text) != std::string::npos; });
}

}  // namespace attn::vulkan::test
