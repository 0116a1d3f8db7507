// What one physical device can do, in the words of Caps.
#include <cstdio>
#include <cstring>

#include "loader.h"

namespace attn::vulkan {
namespace {

const char* type_name(vk::PhysicalDeviceType type) {
  switch (type) {
    case vk::PhysicalDeviceType::eDiscreteGpu:
      return "discrete";
    case vk::PhysicalDeviceType::eIntegratedGpu:
      return "integrated";
    case vk::PhysicalDeviceType::eVirtualGpu:
      return "virtual";
    case vk::PhysicalDeviceType::eCpu:
      return "cpu";
    default:
      return "other";
  }
}

std::vector<std::string> subgroup_names(vk::SubgroupFeatureFlags flags) {
  using Bit = vk::SubgroupFeatureFlagBits;
  constexpr std::pair<Bit, const char*> names[] = {
      {Bit::eBasic, "basic"},         {Bit::eVote, "vote"},       {Bit::eArithmetic, "arithmetic"},
      {Bit::eBallot, "ballot"},       {Bit::eShuffle, "shuffle"}, {Bit::eShuffleRelative, "shuffleRelative"},
      {Bit::eClustered, "clustered"}, {Bit::eQuad, "quad"}};
  std::vector<std::string> out;
  for (const auto& [bit, name] : names)
    if (flags & bit) out.push_back(name);
  return out;
}

std::string hex(const uint8_t* bytes, size_t n) {
  std::string out;
  char two[3];
  for (size_t i = 0; i < n; ++i) {
    std::snprintf(two, sizeof two, "%02x", bytes[i]);
    out += two;
  }
  return out;
}

void read_memory(const vk::raii::PhysicalDevice& device, Caps& caps) {
  using Bit = vk::MemoryPropertyFlagBits;
  constexpr auto all = Bit::eDeviceLocal | Bit::eHostVisible | Bit::eHostCoherent | Bit::eHostCached;
  const auto memory = device.getMemoryProperties();
  for (uint32_t i = 0; i < memory.memoryHeapCount; ++i)
    if (memory.memoryHeaps[i].flags & vk::MemoryHeapFlagBits::eDeviceLocal)
      caps.heap_bytes = std::max<uint64_t>(caps.heap_bytes, memory.memoryHeaps[i].size);
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const auto& type = memory.memoryTypes[i];
    // A small cached window beside a large private heap would not hold the data: it does not count.
    if ((type.propertyFlags & all) == all && memory.memoryHeaps[type.heapIndex].size == caps.heap_bytes)
      caps.unified = true;
  }
}

std::string why_unusable(const Caps& caps, bool has_queue) {
  if (!has_queue) return "it has no compute queue";
  if (!caps.timeline_semaphore) return "it has no timeline semaphores";
  if (caps.max_bindings < 8)
    return "a shader may bind " + std::to_string(caps.max_bindings) + " storage buffers, 8 are needed";
  if (caps.max_push_bytes < 128)
    return "it takes " + std::to_string(caps.max_push_bytes) + " bytes of push constants, 128 are needed";
  if (caps.offset_alignment > 256)
    return "buffer offsets must be multiples of " + std::to_string(caps.offset_alignment) +
           ", at most 256 is handled";
  return {};
}

}  // namespace

Caps read_caps(const vk::raii::PhysicalDevice& device, uint32_t index) {
  const vk::PhysicalDeviceProperties core = device.getProperties();
  Caps caps;
  caps.index = index;
  caps.name = core.deviceName.data();
  caps.type = type_name(core.deviceType);
  caps.api_version = version_text(core.apiVersion);
  caps.vendor_id = core.vendorID;
  caps.device_id = core.deviceID;
  caps.driver_version = core.driverVersion;
  const auto& limits = core.limits;
  caps.max_invocations = limits.maxComputeWorkGroupInvocations;
  std::copy_n(limits.maxComputeWorkGroupSize.begin(), 3, caps.max_group_size);
  std::copy_n(limits.maxComputeWorkGroupCount.begin(), 3, caps.max_group_count);
  caps.shared_bytes = limits.maxComputeSharedMemorySize;
  caps.max_bindings =
      std::min(limits.maxPerStageDescriptorStorageBuffers, limits.maxDescriptorSetStorageBuffers);
  caps.max_push_bytes = limits.maxPushConstantsSize;
  caps.max_binding_bytes = limits.maxStorageBufferRange;
  caps.offset_alignment = limits.minStorageBufferOffsetAlignment;
  read_memory(device, caps);
  if (core.apiVersion < VK_API_VERSION_1_2) {
    // The kernels are SPIR-V 1.5, which 1.1 cannot take even with VK_KHR_timeline_semaphore.
    caps.unusable = "it offers Vulkan " + caps.api_version + ", 1.2 is needed";
    return caps;
  }

  const auto extensions = device.enumerateDeviceExtensionProperties();
  const bool size_control = core.apiVersion >= VK_API_VERSION_1_3 ||
                            has_extension(extensions, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  vk::PhysicalDeviceSubgroupSizeControlProperties sizes{};
  vk::PhysicalDeviceVulkan12Properties v12{};
  vk::PhysicalDeviceVulkan11Properties v11{};
  vk::PhysicalDeviceProperties2 properties{};
  v12.pNext = size_control ? &sizes : nullptr;
  v11.pNext = &v12;
  properties.pNext = &v11;
  device.getDispatcher()->vkGetPhysicalDeviceProperties2(
      *device, reinterpret_cast<VkPhysicalDeviceProperties2*>(&properties));
  caps.driver_name = v12.driverName.data();
  caps.driver_info = v12.driverInfo.data();
  caps.uuid = hex(v11.deviceUUID.data(), VK_UUID_SIZE);
  caps.subgroup_size = v11.subgroupSize;
  caps.subgroup_min = size_control ? sizes.minSubgroupSize : v11.subgroupSize;
  caps.subgroup_max = size_control ? sizes.maxSubgroupSize : v11.subgroupSize;
  if (v11.subgroupSupportedStages & vk::ShaderStageFlagBits::eCompute)
    caps.subgroup_ops = subgroup_names(v11.subgroupSupportedOperations);
  caps.max_allocation_bytes = v11.maxMemoryAllocationSize;

  const auto features = device.getFeatures2<vk::PhysicalDeviceFeatures2, vk::PhysicalDeviceVulkan11Features,
                                            vk::PhysicalDeviceVulkan12Features>();
  caps.float16 = features.get<vk::PhysicalDeviceVulkan12Features>().shaderFloat16;
  caps.storage16 = features.get<vk::PhysicalDeviceVulkan11Features>().storageBuffer16BitAccess;
  caps.timeline_semaphore = features.get<vk::PhysicalDeviceVulkan12Features>().timelineSemaphore;
  caps.cooperative_matrix = has_extension(extensions, "VK_KHR_cooperative_matrix");
  Family family{};
  const bool has_queue = find_family(device, family);
  caps.timestamp_period_ns = has_queue && family.timestamp_bits > 0 ? limits.timestampPeriod : 0;
  caps.unusable = why_unusable(caps, has_queue);
  return caps;
}

}  // namespace attn::vulkan
