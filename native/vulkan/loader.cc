#include "loader.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>

namespace attn::vulkan {

Loader load() {
  // Never closed: handles are counted by the system, and drivers do not take kindly to being unmapped.
#ifdef __APPLE__
  std::vector<const char*> names = {"libvulkan.1.dylib", "libvulkan.dylib", "libMoltenVK.dylib"};
#else
  std::vector<const char*> names = {"libvulkan.so.1", "libvulkan.so"};
#endif
  if (const char* wanted = std::getenv("ATTN_VK_LOADER"); wanted && *wanted) names = {wanted};
  Loader loader;
  for (const char* name : names) {
    void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const char* why = dlerror();
      loader.error += (loader.error.empty() ? "" : "; ") + std::string(why ? why : name);
      continue;
    }
    loader.entry = reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(handle, "vkGetInstanceProcAddr"));
    Dl_info info{};
    const bool known = loader.entry && dladdr(reinterpret_cast<void*>(loader.entry), &info) && info.dli_fname;
    loader.path = known ? info.dli_fname : name;
    if (loader.entry) {
      loader.error.clear();
      return loader;
    }
    loader.error = loader.path + " has no vkGetInstanceProcAddr";
  }
  return loader;
}

bool has_layer(const vk::raii::Context& context, const char* name) {
  for (const auto& layer : context.enumerateInstanceLayerProperties())
    if (std::strcmp(layer.layerName, name) == 0) return true;
  return false;
}

bool has_extension(const std::vector<vk::ExtensionProperties>& all, const char* name) {
  for (const auto& extension : all)
    if (std::strcmp(extension.extensionName, name) == 0) return true;
  return false;
}

std::string version_text(uint32_t v) {
  return std::to_string(VK_API_VERSION_MAJOR(v)) + "." + std::to_string(VK_API_VERSION_MINOR(v)) + "." +
         std::to_string(VK_API_VERSION_PATCH(v));
}

namespace {
VKAPI_ATTR VkBool32 VKAPI_CALL hear(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                    VkDebugUtilsMessageTypeFlagsEXT,
                                    const VkDebugUtilsMessengerCallbackDataEXT* data, void* user) {
  const bool error = severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  static_cast<Messages*>(user)->add(std::string(error ? "error: " : "warning: ") + data->pMessage);
  return VK_FALSE;
}
}  // namespace

vk::DebugUtilsMessengerCreateInfoEXT messenger_info(Messages& sink, Hear what) {
  using Severity = vk::DebugUtilsMessageSeverityFlagBitsEXT;
  using Type = vk::DebugUtilsMessageTypeFlagBitsEXT;
  vk::DebugUtilsMessengerCreateInfoEXT info;
  info.messageSeverity = Severity::eWarning | Severity::eError;
  info.messageType = what == Hear::loader ? vk::DebugUtilsMessageTypeFlagsEXT(Type::eGeneral)
                                          : Type::eValidation | Type::ePerformance;
  // Newer headers declare the callback with the C++ types of the same layout.
  info.pfnUserCallback = reinterpret_cast<decltype(info.pfnUserCallback)>(&hear);
  info.pUserData = &sink;
  return info;
}

vk::raii::Instance make_instance(const vk::raii::Context& context, bool validate, Messages& sink, Hear what) {
  const auto available = context.enumerateInstanceExtensionProperties();
  std::vector<const char*> extensions, layers;
  vk::InstanceCreateInfo info;
  vk::DebugUtilsMessengerCreateInfoEXT messenger = messenger_info(sink, what);
  if (has_extension(available, VK_EXT_DEBUG_UTILS_EXTENSION_NAME)) {
    extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);
    info.pNext = &messenger;
  }
  if (has_extension(available, VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME)) {
    extensions.push_back(VK_KHR_PORTABILITY_ENUMERATION_EXTENSION_NAME);
    info.flags |= vk::InstanceCreateFlagBits::eEnumeratePortabilityKHR;
  }
  if (validate) {
    layers.push_back(kValidationLayer);
    if (!has_extension(available, VK_EXT_DEBUG_UTILS_EXTENSION_NAME))
      extensions.push_back(VK_EXT_DEBUG_UTILS_EXTENSION_NAME);  // the layer brings it
    info.pNext = &messenger;
  }
  // A loader of 1.1 or later takes any apiVersion; 1.2 is what we use, devices above it are welcome.
  const vk::ApplicationInfo application{
      .pApplicationName = "attn-vk", .pEngineName = "attn-vk", .apiVersion = VK_API_VERSION_1_2};
  info.pApplicationInfo = &application;
  info.enabledLayerCount = static_cast<uint32_t>(layers.size());
  info.ppEnabledLayerNames = layers.data();
  info.enabledExtensionCount = static_cast<uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  return vk::raii::Instance(context, info);
}

bool find_family(const vk::raii::PhysicalDevice& device, Family& out) {
  const auto families = device.getQueueFamilyProperties();
  bool found = false;
  for (uint32_t i = 0; i < families.size(); ++i) {
    const auto flags = families[i].queueFlags;
    if (!(flags & vk::QueueFlagBits::eCompute)) continue;
    const bool graphics = bool(flags & vk::QueueFlagBits::eGraphics);
    if (found && graphics) continue;
    out = {i, families[i].timestampValidBits};
    found = true;
    if (!graphics) return true;
  }
  return found;
}

}  // namespace attn::vulkan
