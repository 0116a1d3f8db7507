#include "pipeline.h"

#include <array>
#include <cstdio>
#include <cstring>

#include "shaders.h"

namespace attn::vulkan {
namespace {

uint64_t kernel_set_hash() {
  uint64_t hash = hash_bytes(nullptr, 0);
  for (const Shader& s : shaders()) {
    hash = hash_bytes(s.name.data(), s.name.size(), hash);
    hash = hash_bytes(s.words.data(), s.words.size_bytes(), hash);
  }
  return hash;
}

// One more than the highest `OpDecorate <id> Binding <n>` of a module; its words start with 5 of header.
uint32_t count_bindings(std::span<const uint32_t> words) {
  constexpr uint32_t kOpDecorate = 71, kBinding = 33;
  uint32_t count = 0;
  for (size_t at = 5; at < words.size();) {
    const uint32_t op = words[at] & 0xffff, length = words[at] >> 16;
    if (length == 0 || at + length > words.size()) break;
    if (op == kOpDecorate && length == 4 && words[at + 2] == kBinding)
      count = std::max(count, words[at + 3] + 1);
    at += length;
  }
  return count;
}

std::string list(std::span<const uint32_t> spec) {
  std::string out = "[";
  for (const uint32_t v : spec) out += std::to_string(v) + (&v == &spec.back() ? "" : " ");
  return out += ']';
}

}  // namespace

Pipelines::Pipelines(Core& core) : core_(core) {
  std::array<vk::DescriptorSetLayoutBinding, kBindings> bindings;
  for (uint32_t i = 0; i < kBindings; ++i)
    bindings[i] = {.binding = i,
                   .descriptorType = vk::DescriptorType::eStorageBuffer,
                   .descriptorCount = 1,
                   .stageFlags = vk::ShaderStageFlagBits::eCompute};
  set_layout_ = vk::raii::DescriptorSetLayout(
      core.device,
      vk::DescriptorSetLayoutCreateInfo{.bindingCount = kBindings, .pBindings = bindings.data()});
  const vk::PushConstantRange push{
      .stageFlags = vk::ShaderStageFlagBits::eCompute, .offset = 0, .size = kPushBytes};
  const vk::DescriptorSetLayout set = *set_layout_;
  layout_ = vk::raii::PipelineLayout(core.device, vk::PipelineLayoutCreateInfo{.setLayoutCount = 1,
                                                                               .pSetLayouts = &set,
                                                                               .pushConstantRangeCount = 1,
                                                                               .pPushConstantRanges = &push});
  open_cache();
}

Pipelines::~Pipelines() {
  try {
    save_cache();
  } catch (const std::exception& error) {  // a lost device has no cache to give
    core_.warn(std::string("the pipeline cache was not saved: ") + error.what());
  }
}

void Pipelines::open_cache() {
  std::vector<uint8_t> kept;
  if (!core_.options.cache_folder.empty()) {
    char name[128];
    std::snprintf(name, sizeof name, "pipelines-%s-%x-%016llx.bin", core_.caps.uuid.c_str(),
                  core_.caps.driver_version, static_cast<unsigned long long>(kernel_set_hash()));
    file_ = std::filesystem::path(core_.options.cache_folder) / name;
    std::string why;
    kept = read_cache_file(file_, why);
    VkPipelineCacheHeaderVersionOne header{};
    const auto properties = core_.physical.getProperties();
    if (kept.size() >= sizeof header) std::memcpy(&header, kept.data(), sizeof header);
    const bool ours =
        header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
        header.vendorID == properties.vendorID && header.deviceID == properties.deviceID &&
        std::memcmp(header.pipelineCacheUUID, properties.pipelineCacheUUID.data(), VK_UUID_SIZE) == 0;
    if (why.empty() && !kept.empty() && !ours) why = "another driver wrote it";
    if (!why.empty()) {
      core_.warn("pipeline cache " + file_.string() + " is ignored and rebuilt: " + why);
      kept.clear();
    }
  }
  loaded_bytes_ = kept.size();
  cache_ = vk::raii::PipelineCache(
      core_.device, vk::PipelineCacheCreateInfo{.initialDataSize = kept.size(), .pInitialData = kept.data()});
}

void Pipelines::save_cache() {
  if (file_.empty() || !core_.lost.empty()) return;
  const std::vector<uint8_t> data = cache_.getData();
  if (data.size() <= loaded_bytes_) return;
  std::string why;
  write_cache_file(file_, data, why);
  if (!why.empty()) core_.warn("pipeline cache " + file_.string() + " was not saved: " + why);
}

const Pipelines::Module& Pipelines::module(std::string_view shader) {
  if (const auto found = modules_.find(shader); found != modules_.end()) return found->second;
  for (const Shader& s : shaders()) {
    if (s.name != shader) continue;
    Module made;
    made.bindings = count_bindings(s.words);
    made.handle = vk::raii::ShaderModule(
        core_.device, vk::ShaderModuleCreateInfo{.codeSize = s.words.size_bytes(), .pCode = s.words.data()});
    return modules_.emplace(std::string(shader), std::move(made)).first->second;
  }
  throw Error("ATTN_INTERNAL", "there is no shader \"" + std::string(shader) + "\" in this build");
}

Pipeline* Pipelines::get(std::string_view shader, std::span<const uint32_t> spec) {
  std::string key(shader);
  key.append(1, '\0').append(reinterpret_cast<const char*>(spec.data()), spec.size_bytes());
  auto& slot = pipelines_[key];
  if (!slot) slot = build(shader, spec);
  return slot.get();
}

std::unique_ptr<Pipeline> Pipelines::build(std::string_view shader, std::span<const uint32_t> spec) {
  const Module& code = module(shader);
  const std::string what = std::string(shader) + " " + list(spec);
  if (code.bindings > kBindings)
    throw Error("ATTN_INTERNAL",
                "shader " + what + " binds " + std::to_string(code.bindings) + " buffers, not 8");
  const uint32_t most = std::min(core_.caps.max_invocations, core_.caps.max_group_size[0]);
  if (spec.empty() || spec[0] == 0 || spec[0] > most)
    throw Error("ATTN_DEVICE", "shader " + what + " wants a workgroup of " +
                                   (spec.empty() ? "no given size" : std::to_string(spec[0])) + ", device " +
                                   core_.caps.name + " takes 1 to " + std::to_string(most));
  std::vector<vk::SpecializationMapEntry> entries(spec.size());
  for (uint32_t i = 0; i < entries.size(); ++i)
    entries[i] = vk::SpecializationMapEntry{.constantID = i, .offset = i * 4, .size = 4};
  const vk::SpecializationInfo constants{.mapEntryCount = static_cast<uint32_t>(entries.size()),
                                         .pMapEntries = entries.data(),
                                         .dataSize = spec.size_bytes(),
                                         .pData = spec.data()};
  const vk::ComputePipelineCreateInfo info{.stage = {.stage = vk::ShaderStageFlagBits::eCompute,
                                                     .module = *code.handle,
                                                     .pName = "main",
                                                     .pSpecializationInfo = &constants},
                                           .layout = *layout_};
  auto made = std::make_unique<Pipeline>();
  try {
    made->handle = vk::raii::Pipeline(core_.device, cache_, info);
  } catch (const vk::DeviceLostError&) {
    throw;
  } catch (const vk::SystemError& error) {
    throw Error("ATTN_DEVICE",
                "the driver of " + core_.caps.name + " refuses shader " + what + ": " + error.what());
  }
  made->shader = shader;
  made->bindings = code.bindings;
  ++core_.stats.pipelines;
  return made;
}

}  // namespace attn::vulkan
