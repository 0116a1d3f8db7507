// What there is and what is wrong with it: for `doctor`, and for the message when no device can be opened.
#include "loader.h"

namespace attn::vulkan {
namespace {

void survey_devices(const vk::raii::Context& context, Survey& out) {
  Messages heard;
  const auto keep_heard = [&] {
    for (std::string& text : heard.take()) out.attempts.push_back("loader says: " + std::move(text));
  };
  try {
    const vk::raii::Instance instance = make_instance(context, false, heard, Hear::loader);
    out.attempts.push_back("an instance was created");
    // While the instance lives its drivers stay loaded, so looking at their libraries costs nothing.
    out.drivers = list_drivers();
    const auto devices = instance.enumeratePhysicalDevices();
    out.attempts.push_back(std::to_string(devices.size()) + " device(s) found");
    for (uint32_t i = 0; i < devices.size(); ++i) {
      try {
        out.devices.push_back(read_caps(devices[i], i));
      } catch (const std::exception& error) {
        Caps caps;
        caps.index = i;
        caps.type = "other";
        caps.unusable = std::string("its properties cannot be read: ") + error.what();
        out.devices.push_back(caps);
      }
    }
  } catch (const std::exception& error) {
    keep_heard();
    out.attempts.push_back(std::string("devices could not be listed: ") + error.what());
    return;
  }
  keep_heard();
}

void survey_all(Survey& out) {
  const Loader loader = load();
  out.loader_path = loader.path;
  if (!loader.entry) {
    out.loader_error = loader.error;
    out.attempts.push_back("the Vulkan loader was not found: " + loader.error + " (package libvulkan1)");
    out.drivers = list_drivers();
    return;
  }
  out.loader = true;
  out.attempts.push_back("the Vulkan loader is " + loader.path);
  const vk::raii::Context context(loader.entry);
  const uint32_t version = context.enumerateInstanceVersion();
  out.loader_version = version_text(version);
  if (has_layer(context, kValidationLayer)) out.layers.push_back(kValidationLayer);
  survey_devices(context, out);
  if (out.drivers.empty()) out.drivers = list_drivers();
  if (out.drivers.empty())
    out.attempts.push_back(
        "no driver manifest was found (package mesa-vulkan-drivers has one for every CPU)");
}

}  // namespace

Survey survey() {
  Survey out;
  try {
    survey_all(out);
  } catch (const std::exception& error) {
    out.attempts.push_back(std::string("the survey broke off: ") + error.what());
  }
  return out;
}

}  // namespace attn::vulkan
