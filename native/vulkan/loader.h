// From nothing to a VkInstance: the loader library, its drivers' manifests, layers, messages, physical
// devices.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "device.h"
#include "vk.h"

namespace attn::vulkan {

struct Loader {
  PFN_vkGetInstanceProcAddr entry = nullptr;  // null: `error` says why
  std::string path, error;
};
Loader load();  // the system's, or the library that ATTN_VK_LOADER names

// What the validation layer and the loader say. Any thread may add.
class Messages {
 public:
  void add(std::string text) {
    std::lock_guard lock(mutex_);
    texts_.push_back(std::move(text));
  }
  std::vector<std::string> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(texts_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> texts_;
};

inline constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";
bool has_layer(const vk::raii::Context&, const char* name);
bool has_extension(const std::vector<vk::ExtensionProperties>&, const char* name);
std::string version_text(uint32_t version);

// What the messenger of `sink` hears: the loader's talk about drivers (survey) or validation (an open
// device).
enum class Hear { loader, validation };
vk::DebugUtilsMessengerCreateInfoEXT messenger_info(Messages& sink, Hear);
// An instance of at least 1.1 with portability drivers listed; throws vk::SystemError.
vk::raii::Instance make_instance(const vk::raii::Context&, bool validate, Messages& sink, Hear);

// The queue family to compute on: one without graphics where there is one (no desktop to stall), else any.
struct Family {
  uint32_t index;
  uint32_t timestamp_bits;
};
bool find_family(const vk::raii::PhysicalDevice&, Family&);

// Facts of one device; `unusable` says why it cannot be opened. Throws vk::SystemError.
Caps read_caps(const vk::raii::PhysicalDevice&, uint32_t index);

// Every ICD manifest that the loader would read, each with what is wrong with it ("path: reason").
std::vector<std::string> list_drivers();

}  // namespace attn::vulkan
