#include "core.h"

#include <cstdlib>
#include <sstream>

namespace attn::vulkan {

Fault Fault::parse(const std::string& text) {
  Fault fault;
  std::istringstream items(text);
  for (std::string item; std::getline(items, item, ',');) {
    const size_t colon = item.find(':');
    const std::string name = item.substr(0, colon);
    const uint64_t n = colon == std::string::npos ? 0 : std::strtoull(item.c_str() + colon + 1, nullptr, 10);
    if (name == "oom" && n == 0) fault.oom_always = true;
    if (name == "oom") fault.oom = n;
    if (name == "lost") fault.lost = std::max<uint64_t>(n, 1);
    if (name == "staged") fault.staged = true;
    if (name == "rebar") fault.rebar = true;
  }
  return fault;
}

namespace {

PFN_vkGetInstanceProcAddr loader_entry() {
  const Loader loader = load();
  if (!loader.entry)
    throw Error("ATTN_DEVICE", "no Vulkan loader: " + loader.error,
                "install libvulkan1 and a driver (mesa-vulkan-drivers has one for every CPU)");
  return loader.entry;
}

std::string fault_text(const Options& options) {
  if (!options.fault.empty()) return options.fault;
  const char* env = std::getenv("ATTN_VK_FAULT");
  return env ? env : "";
}

}  // namespace

Core::Core(const Options& wanted)
    : options(wanted), fault(Fault::parse(fault_text(wanted))), context(loader_entry()) {
  try {
    if (options.validate && !has_layer(context, kValidationLayer))
      throw Error("ATTN_DEVICE",
                  std::string("validation was asked for, but there is no layer ") + kValidationLayer,
                  "install vulkan-validationlayers");
    instance = make_instance(context, options.validate, messages, Hear::validation);
    if (options.validate)
      messenger = vk::raii::DebugUtilsMessengerEXT(instance, messenger_info(messages, Hear::validation));
    auto devices = instance.enumeratePhysicalDevices();
    if (options.index >= devices.size())
      throw Error("ATTN_DEVICE",
                  "there is no Vulkan device " + std::to_string(options.index) + ": " +
                      std::to_string(devices.size()) + " found",
                  "attn-vk doctor lists the devices and what is wrong with the drivers");
    physical = std::move(devices[options.index]);
    caps = read_caps(physical, options.index);
    if (!caps.unusable.empty())
      throw Error("ATTN_DEVICE", "device " + caps.name + " cannot be used: " + caps.unusable);
    if (fault.staged || fault.rebar) caps.unified = false;

    const auto offered = physical.enumerateDeviceExtensionProperties();
    std::vector<const char*> extensions;
    memory_budget = has_extension(offered, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    if (memory_budget) extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
    // A device that offers it (MoltenVK) insists that it be enabled.
    if (has_extension(offered, "VK_KHR_portability_subset"))
      extensions.push_back("VK_KHR_portability_subset");

    Family chosen{};
    find_family(physical, chosen);
    family = chosen.index;
    vk::PhysicalDeviceVulkan12Features v12{};
    v12.timelineSemaphore = true;
    v12.shaderFloat16 = caps.float16;
    vk::PhysicalDeviceVulkan11Features v11{};
    v11.pNext = &v12;
    v11.storageBuffer16BitAccess = caps.storage16;
    vk::PhysicalDeviceFeatures2 features{};
    features.pNext = &v11;
    features.features.robustBufferAccess = options.validate && physical.getFeatures().robustBufferAccess;
    const float priority = 1;
    const vk::DeviceQueueCreateInfo queue_info{
        .queueFamilyIndex = family, .queueCount = 1, .pQueuePriorities = &priority};
    const vk::DeviceCreateInfo info{.pNext = &features,
                                    .queueCreateInfoCount = 1,
                                    .pQueueCreateInfos = &queue_info,
                                    .enabledExtensionCount = static_cast<uint32_t>(extensions.size()),
                                    .ppEnabledExtensionNames = extensions.data()};
    device = vk::raii::Device(physical, info);
    queue = device.getQueue(family, 0);
  } catch (const vk::SystemError& error) {
    throw Error("ATTN_DEVICE", std::string("the Vulkan device could not be opened: ") + error.what(),
                "attn-vk doctor lists the devices and what is wrong with the drivers");
  }
}

Core::~Core() {
  queue = nullptr;
  device = nullptr;
  for (const std::string& text : messages.take()) warn("validation: " + text);
}

void Core::throw_lost() const {
  throw Error("ATTN_DEVICE_LOST", lost,
              "its memory is gone: open the device again and load the last checkpoint");
}

void Core::raise(const char* doing, const vk::SystemError& error) {
  const auto code = static_cast<vk::Result>(error.code().value());
  if (code == vk::Result::eErrorDeviceLost) {
    lost = "device " + caps.name + " was lost during " + doing + " (" + error.what() + ")";
    if (in_flight) lost += "; in flight: " + in_flight();
    throw_lost();
  }
  const bool memory =
      code == vk::Result::eErrorOutOfDeviceMemory || code == vk::Result::eErrorOutOfHostMemory;
  throw Error(memory ? "ATTN_OUT_OF_MEMORY" : "ATTN_DEVICE",
              std::string(doing) + " failed on " + caps.name + ": " + error.what());
}

Timeline::Timeline(const vk::raii::Device& device) : device_(device) {
  const vk::SemaphoreTypeCreateInfo type{.semaphoreType = vk::SemaphoreType::eTimeline, .initialValue = 0};
  semaphore_ = vk::raii::Semaphore(device, vk::SemaphoreCreateInfo{.pNext = &type});
}

bool Timeline::reached(uint64_t value) {
  if (value <= completed_) return true;
  if (value > submitted_) return false;
  completed_ = semaphore_.getCounterValue();
  return value <= completed_;
}

void Timeline::wait(uint64_t value) {
  if (reached(value)) return;
  const vk::Semaphore semaphore = *semaphore_;
  const vk::SemaphoreWaitInfo info{.semaphoreCount = 1, .pSemaphores = &semaphore, .pValues = &value};
  while (device_.waitSemaphores(info, UINT64_MAX) == vk::Result::eTimeout) {
  }
  completed_ = std::max(completed_, value);
}

}  // namespace attn::vulkan
