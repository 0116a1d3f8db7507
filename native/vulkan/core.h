// What the parts of one open device share: handles, facts, counters, and how a failure is told.
#pragma once

#include <functional>
#include <string>

#include "loader.h"

namespace attn::vulkan {

// Failures on demand, for tests: Options::fault, else the environment's ATTN_VK_FAULT, a comma-separated list
// of
//   oom        every slab allocation fails as if the driver had refused     oom:<n>  only the n-th one does
//   lost:<n>   the n-th submit finds the device lost
//   staged     memory is treated as not host-visible     rebar    as host-visible but not cached
struct Fault {
  uint64_t oom = 0, lost = 0;  // ordinal from 1; 0: never
  bool oom_always = false, staged = false, rebar = false;
  static Fault parse(const std::string&);
};

struct Core {
  Options options;
  Fault fault;
  Caps caps;
  Messages messages;
  vk::raii::Context context;
  vk::raii::Instance instance{nullptr};
  vk::raii::DebugUtilsMessengerEXT messenger{nullptr};
  vk::raii::PhysicalDevice physical{nullptr};
  vk::raii::Device device{nullptr};
  vk::raii::Queue queue{nullptr};
  uint32_t family = 0;
  bool memory_budget = false;  // VK_EXT_memory_budget is there
  Stats stats{};
  std::string lost;  // set once, when the device is lost: all that can be said afterwards
  std::function<std::string()> in_flight;  // what the queue was doing, for that message

  explicit Core(const Options&);  // throws ATTN_DEVICE
  ~Core();  // what validation says of the closing goes to Options::warn, as nobody can ask for it any more

  void warn(const std::string& text) const {
    if (options.warn) options.warn(text);
  }
  [[noreturn]] void throw_lost() const;

  // Runs one public call: refuses on a lost device, and turns what Vulkan-Hpp throws into attn::Error.
  template <class F>
  auto guarded(const char* doing, F&& f) {
    if (!lost.empty()) throw_lost();
    try {
      return f();
    } catch (const vk::SystemError& error) {
      raise(doing, error);
    }
  }

 private:
  [[noreturn]] void raise(const char* doing, const vk::SystemError&);
};

// The one timeline semaphore: submit n signals n.
class Timeline {
 public:
  explicit Timeline(const vk::raii::Device&);
  uint64_t next() const { return submitted_ + 1; }  // what the work being recorded will signal
  uint64_t submitted() const { return submitted_; }
  uint64_t completed() const { return completed_; }  // as last seen
  void advance() { ++submitted_; }
  bool reached(uint64_t value);
  void wait(uint64_t value);  // value must have been submitted
  vk::Semaphore handle() const { return *semaphore_; }

 private:
  const vk::raii::Device& device_;
  vk::raii::Semaphore semaphore_{nullptr};
  uint64_t submitted_ = 0, completed_ = 0;
};

}  // namespace attn::vulkan
