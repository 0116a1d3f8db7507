#include "stream.h"

#include <cmath>
#include <cstring>

namespace attn::vulkan {
namespace {

using Stage = vk::PipelineStageFlagBits;
using Access = vk::AccessFlagBits;
constexpr vk::PipelineStageFlags kWork = Stage::eComputeShader | Stage::eTransfer;
constexpr vk::AccessFlags kWritten = Access::eShaderWrite | Access::eTransferWrite;
constexpr vk::AccessFlags kTouched = kWritten | Access::eShaderRead | Access::eTransferRead;

}  // namespace

Stream::Stream(Core& core, Timeline& timeline, Slabs& slabs, Pipelines& pipelines)
    : core_(core), timeline_(timeline), slabs_(slabs), pipelines_(pipelines) {
  core_.in_flight = [this] { return in_flight(); };
}

Stream::~Stream() {
  core_.in_flight = nullptr;
  try {
    if (core_.lost.empty()) core_.device.waitIdle();
  } catch (const vk::SystemError&) {  // lost now: its objects may be destroyed all the same
  }
}

Stream::Slot& Stream::recording() {
  if (open_) return ring_[slot_];
  slot_ = (slot_ + 1) % kRing;
  Slot& slot = ring_[slot_];
  timeline_.wait(slot.value);
  if (!*slot.pool) {
    slot.pool = vk::raii::CommandPool(
        core_.device, vk::CommandPoolCreateInfo{.flags = vk::CommandPoolCreateFlagBits::eTransient,
                                                .queueFamilyIndex = core_.family});
    vk::raii::CommandBuffers buffers(
        core_.device,
        vk::CommandBufferAllocateInfo{
            .commandPool = *slot.pool, .level = vk::CommandBufferLevel::ePrimary, .commandBufferCount = 1});
    slot.commands = std::move(buffers.front());
  } else {
    slot.pool.reset({});
  }
  slot.launches = 0;
  slot.reads.clear();
  slot.writes.clear();
  slot.shaders.clear();
  slot.bound = nullptr;
  slot.value = timeline_.next();
  slot.commands.begin({.flags = vk::CommandBufferUsageFlagBits::eOneTimeSubmit});
  open_ = true;
  return slot;
}

// Read after write, write after write, write after read: one global barrier, after which nothing is pending.
void Stream::order(std::span<const Touch> touches) {
  bool hazard = false;
  for (const Touch& t : touches) hazard |= writes_.overlaps(t.range) || (t.write && reads_.overlaps(t.range));
  if (!hazard) return;
  barrier(recording(), kWork, kTouched);
  ++core_.stats.barriers;
}

void Stream::barrier(Slot& slot, vk::PipelineStageFlags to, vk::AccessFlags access) {
  const vk::MemoryBarrier memory{.srcAccessMask = kWritten, .dstAccessMask = access};
  slot.commands.pipelineBarrier(kWork, to, {}, memory, {}, {});
  reads_.clear();
  writes_.clear();
}

void Stream::note(Slot& slot, std::span<const Touch> touches) {
  for (const Touch& t : touches) {
    (t.write ? writes_ : reads_).add(t.range);
    (t.write ? slot.writes : slot.reads).add(t.range);
  }
}

void Stream::check(const Pipeline* pipeline, std::span<const Binding> bindings,
                   std::span<const uint32_t> push, uint64_t groups) const {
  const auto fail = [&](const char* code, const std::string& text) {
    throw Error(code, "shader " + pipeline->shader + ": " + text);
  };
  if (bindings.size() < pipeline->bindings || bindings.size() > kBindings)
    fail("ATTN_INTERNAL", std::to_string(bindings.size()) + " buffers bound, it declares " +
                              std::to_string(pipeline->bindings));
  if (push.size_bytes() + 8 > kPushBytes)
    fail("ATTN_INTERNAL", std::to_string(push.size()) + " push words, at most 30 are possible");
  // Folding may overshoot by up to a row of the grid; base + index must stay below 2^32.
  if (groups > 0xffff0000u)
    fail("ATTN_DEVICE", std::to_string(groups) + " workgroups, at most 4294901760 are possible");
  for (const Binding& b : bindings) {
    if (!b.memory || !b.memory->slab) fail("ATTN_INTERNAL", "a bound buffer was released");
    if (b.bytes == 0 || b.offset + b.bytes > b.memory->bytes || b.offset % core_.caps.offset_alignment)
      fail("ATTN_INTERNAL", "binding of " + std::to_string(b.bytes) + " bytes at " +
                                std::to_string(b.offset) + " in " + std::to_string(b.memory->bytes) +
                                ", offsets being multiples of " +
                                std::to_string(core_.caps.offset_alignment));
    if (b.bytes > core_.caps.max_binding_bytes)
      fail("ATTN_DEVICE", "a binding of " + std::to_string(b.bytes) + " bytes; device " + core_.caps.name +
                              " takes at most " + std::to_string(core_.caps.max_binding_bytes));
  }
}

void Stream::dispatch(Pipeline* pipeline, std::span<const Binding> bindings, std::span<const uint32_t> push,
                      uint64_t groups, double seconds) {
  if (groups == 0) return;
  if (bindings.empty()) throw Error("ATTN_INTERNAL", "shader " + pipeline->shader + ": nothing is bound");
  check(pipeline, bindings, push, groups);
  if (!(seconds > 0)) seconds = kUnknownSeconds;
  const auto& most = core_.caps.max_group_count;
  const uint64_t pieces =
      seconds > kSplitSeconds
          ? static_cast<uint64_t>(std::min(std::ceil(seconds / kSubmitSeconds), double(groups)))
          : 1;
  const uint64_t step = std::min((groups + pieces - 1) / pieces, uint64_t{most[0]} * most[1]);
  const double each = seconds * static_cast<double>(step) / static_cast<double>(groups);

  touches_.clear();
  for (const Binding& b : bindings) {
    touches_.push_back({b.memory->range(b.offset, b.bytes), b.write});
  }
  for (uint64_t base = 0; base < groups; base += step) {
    if (open_ && pending_seconds_ > 0 && pending_seconds_ + each > kSubmitSeconds) submit();
    if (base == 0) order(touches_);  // the pieces of one launch do not depend on each other
    Slot& slot = recording();
    launch(slot, pipeline, bindings, push, static_cast<uint32_t>(base),
           static_cast<uint32_t>(std::min(step, groups - base)));
    note(slot, touches_);
    for (const Binding& b : bindings) b.memory->slab->last_use = slot.value;
    pending_seconds_ += each;
    if (pending_seconds_ > kSubmitSeconds || slot.launches == kLaunches) submit();
  }
}

void Stream::launch(Slot& slot, Pipeline* pipeline, std::span<const Binding> bindings,
                    std::span<const uint32_t> push, uint32_t base, uint32_t n) {
  if (!*slot.set_pool) {
    const vk::DescriptorPoolSize size{.type = vk::DescriptorType::eStorageBuffer,
                                      .descriptorCount = kLaunches * kBindings};
    slot.set_pool = vk::raii::DescriptorPool(
        core_.device,
        vk::DescriptorPoolCreateInfo{.maxSets = kLaunches, .poolSizeCount = 1, .pPoolSizes = &size});
  }
  if (slot.sets.size() == slot.launches) {
    const vk::DescriptorSetLayout layout = pipelines_.set_layout();
    // Sets live as long as their pool: the plain handles are kept, no owner is needed.
    vk::raii::DescriptorSets made(
        core_.device, vk::DescriptorSetAllocateInfo{
                          .descriptorPool = *slot.set_pool, .descriptorSetCount = 1, .pSetLayouts = &layout});
    slot.sets.push_back(made.front().release());
  }
  const vk::DescriptorSet set = slot.sets[slot.launches++];
  // All bindings are written, the unused ones with the first buffer: a set is used again and again, and
  // lavapipe follows even descriptors that the shader does not use, into buffers that trim() has destroyed.
  std::array<vk::DescriptorBufferInfo, kBindings> infos;
  for (size_t i = 0; i < kBindings; ++i) {
    const Binding& b = bindings[i < bindings.size() ? i : 0];
    infos[i] = vk::DescriptorBufferInfo{
        .buffer = *b.memory->slab->buffer, .offset = b.memory->offset + b.offset, .range = b.bytes};
  }
  const vk::WriteDescriptorSet write{.dstSet = set,
                                     .dstBinding = 0,
                                     .descriptorCount = kBindings,
                                     .descriptorType = vk::DescriptorType::eStorageBuffer,
                                     .pBufferInfo = infos.data()};
  core_.device.updateDescriptorSets(write, nullptr);

  const auto& commands = slot.commands;
  if (slot.bound != pipeline) commands.bindPipeline(vk::PipelineBindPoint::eCompute, *pipeline->handle);
  slot.bound = pipeline;
  commands.bindDescriptorSets(vk::PipelineBindPoint::eCompute, pipelines_.layout(), 0, set, nullptr);
  uint32_t words[kPushBytes / 4] = {base, base + n};
  std::copy(push.begin(), push.end(), words + 2);
  commands.pushConstants<uint32_t>(pipelines_.layout(), vk::ShaderStageFlagBits::eCompute, 0,
                                   {static_cast<uint32_t>(push.size() + 2), words});
  // Rows as equal as can be, so that fewer than one group a row has nothing to do.
  const uint32_t most = core_.caps.max_group_count[0];
  const uint32_t rows = (n - 1) / most + 1;
  commands.dispatch((n - 1) / rows + 1, rows, 1);
  slot.shaders.push_back(pipeline);
  ++core_.stats.dispatches;
}

void Stream::submit() {
  if (!open_) return;
  Slot& slot = ring_[slot_];
  // Everything becomes visible to the host here: whoever waits for this submit may read mapped memory.
  barrier(slot, kWork | Stage::eHost, kTouched | Access::eHostRead | Access::eHostWrite);
  open_ = false;
  pending_seconds_ = 0;
  if (core_.fault.lost && core_.stats.submits + 1 == core_.fault.lost)
    throw vk::DeviceLostError("vkQueueSubmit (injected)");
  const vk::Semaphore semaphore = timeline_.handle();
  const vk::CommandBuffer commands = *slot.commands;
  const vk::TimelineSemaphoreSubmitInfo signal{.signalSemaphoreValueCount = 1,
                                               .pSignalSemaphoreValues = &slot.value};
  const vk::SubmitInfo info{.pNext = &signal,
                            .commandBufferCount = 1,
                            .pCommandBuffers = &commands,
                            .signalSemaphoreCount = 1,
                            .pSignalSemaphores = &semaphore};
  try {
    slot.commands.end();
    core_.queue.submit(info);
  } catch (const vk::SystemError& error) {
    // Work that callers believe done was refused: nothing computed from here on could be trusted.
    throw vk::DeviceLostError(error.what());
  }
  timeline_.advance();
  ++core_.stats.submits;
}

void Stream::finish() { wait(open_ ? timeline_.next() : timeline_.submitted()); }

void Stream::wait(uint64_t value) {
  if (value > timeline_.submitted()) submit();
  timeline_.wait(value);
}

uint64_t Stream::busy_until(Range range, bool writes_only) {
  uint64_t latest = 0;
  for (const Slot& slot : ring_) {
    if (slot.value <= latest) continue;
    if (!slot.writes.overlaps(range) && (writes_only || !slot.reads.overlaps(range))) continue;
    if (!timeline_.reached(slot.value)) latest = slot.value;
  }
  return latest;
}

std::string Stream::in_flight() const {
  std::vector<const Slot*> pending;
  for (const Slot& slot : ring_)
    if (slot.value > timeline_.completed()) pending.push_back(&slot);
  std::sort(pending.begin(), pending.end(), [](auto* a, auto* b) { return a->value < b->value; });
  std::vector<std::pair<std::string, size_t>> runs;  // shader, launches in a row
  for (const Slot* slot : pending)
    for (const Pipeline* p : slot->shaders) {
      if (runs.empty() || runs.back().first != p->shader) runs.emplace_back(p->shader, 0);
      ++runs.back().second;
    }
  constexpr size_t kNamed = 8;
  std::string out = runs.size() > kNamed ? "… " : "";
  for (size_t i = runs.size() - std::min(runs.size(), kNamed); i < runs.size(); ++i)
    out += (out.empty() || out.back() == ' ' ? "" : ", ") + runs[i].first + " x" +
           std::to_string(runs[i].second);
  return (out.empty() ? "copies only" : out) +
         " (completed submits: " + std::to_string(timeline_.completed()) + " of " +
         std::to_string(timeline_.submitted()) + ")";
}

}  // namespace attn::vulkan
