#include "memory.h"

#include <sys/mman.h>

#include <algorithm>

namespace attn::vulkan {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kSlab = 64 * kMiB;
constexpr uint64_t kAlign = 256;  // at least every offset alignment and non-coherent atom that is accepted

constexpr uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

constexpr auto kBufferUse = vk::BufferUsageFlagBits::eStorageBuffer | vk::BufferUsageFlagBits::eTransferSrc |
                            vk::BufferUsageFlagBits::eTransferDst;

}  // namespace

Slabs::Slabs(Core& core, Timeline& timeline, std::function<void()> drain)
    : core_(core), timeline_(timeline), drain_(std::move(drain)) {
  choose_types();
  const uint64_t most = budget();
  slab_bytes_ = std::clamp(std::min(heap_bytes_, most) / 8 / kMiB * kMiB, kMiB, kSlab);
  slab_bytes_ = std::min(slab_bytes_, core_.caps.max_allocation_bytes);
  pool_limit_ = core_.options.pool_limit ? core_.options.pool_limit : most / 2;
}

// Tensors: device-local, and of those the most useful to the host. A write-combined window counts only when
// it spans the whole device heap (resizable BAR): a small one fills up and fragments.
void Slabs::choose_types() {
  using Bit = vk::MemoryPropertyFlagBits;
  const auto memory = core_.physical.getMemoryProperties();
  const vk::raii::Buffer probe(core_.device, vk::BufferCreateInfo{.size = 4096, .usage = kBufferUse});
  const uint32_t allowed = probe.getMemoryRequirements().memoryTypeBits;
  const auto pick = [&](vk::MemoryPropertyFlags wanted, vk::MemoryPropertyFlags unwanted, bool full_heap) {
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
      const auto& type = memory.memoryTypes[i];
      if (!(allowed >> i & 1) || (type.propertyFlags & wanted) != wanted || (type.propertyFlags & unwanted))
        continue;
      // AMD's uncached types want a feature that is not enabled.
      if (type.propertyFlags & (Bit::eProtected | Bit::eDeviceCoherentAMD)) continue;
      if (!full_heap || memory.memoryHeaps[type.heapIndex].size == core_.caps.heap_bytes)
        return static_cast<int>(i);
    }
    return -1;
  };
  const auto first = [](std::initializer_list<int> found) {
    for (const int i : found)
      if (i >= 0) return static_cast<uint32_t>(i);
    throw Error("ATTN_DEVICE", "no memory type can hold a storage buffer");
  };
  const vk::MemoryPropertyFlags none{}, local = Bit::eDeviceLocal,
                                        visible = Bit::eHostVisible | Bit::eHostCoherent;
  const int unified = core_.caps.unified ? pick(local | visible | Bit::eHostCached, none, true) : -1;
  const int window = core_.fault.staged ? -1 : pick(local | visible, none, true);
  const uint32_t tensors = first({unified, window, pick(local, Bit::eHostVisible, false),
                                  pick(local, none, false), pick(none, none, false)});
  types_[static_cast<int>(Use::tensors)] = tensors;
  types_[static_cast<int>(Use::upload)] = first({pick(visible, local, false), pick(visible, none, false)});
  types_[static_cast<int>(Use::download)] =
      first({pick(visible | Bit::eHostCached, none, false),
             pick(Bit::eHostVisible | Bit::eHostCached, none, false), pick(visible, none, false)});
  direct_ = !core_.fault.staged && (memory.memoryTypes[tensors].propertyFlags & visible) == visible;
  heap_bytes_ = memory.memoryHeaps[memory.memoryTypes[tensors].heapIndex].size;
}

uint64_t Slabs::budget() const {
  if (core_.options.memory_budget) return core_.options.memory_budget;
  if (!core_.memory_budget) return heap_bytes_ / 10 * 8;
  // What the driver would let this process have now, ours included; a tenth is left for its own needs.
  const auto found = core_.physical.getMemoryProperties2<vk::PhysicalDeviceMemoryProperties2,
                                                         vk::PhysicalDeviceMemoryBudgetPropertiesEXT>();
  const uint32_t heap = found.get<vk::PhysicalDeviceMemoryProperties2>()
                            .memoryProperties.memoryTypes[types_[static_cast<int>(Use::tensors)]]
                            .heapIndex;
  return found.get<vk::PhysicalDeviceMemoryBudgetPropertiesEXT>().heapBudget[heap] / 10 * 9;
}

uint64_t Slabs::room() const {
  const uint64_t most = budget();
  return most - std::min(most, core_.stats.slab_bytes);
}

std::unique_ptr<Slab> Slabs::create(uint64_t bytes, Use use) {
  auto slab = std::make_unique<Slab>();
  slab->bytes = bytes;
  slab->buffer = vk::raii::Buffer(core_.device, vk::BufferCreateInfo{.size = bytes, .usage = kBufferUse});
  const auto needs = slab->buffer.getMemoryRequirements();
  const uint32_t type = types_[static_cast<int>(use)];
  slab->memory = vk::raii::DeviceMemory(
      core_.device, vk::MemoryAllocateInfo{.allocationSize = needs.size, .memoryTypeIndex = type});
  slab->buffer.bindMemory(*slab->memory, 0);
  const auto flags = core_.physical.getMemoryProperties().memoryTypes[type].propertyFlags;
  if (use != Use::tensors || direct_)
    slab->host = static_cast<std::byte*>(slab->memory.mapMemory(0, VK_WHOLE_SIZE));
#ifdef MADV_HUGEPAGE
  // A software driver's memory is ordinary memory: in 2 MiB pages its first touch costs a tenth. Advice only.
  if (slab->host && core_.caps.type == "cpu") {
    const auto begin = round_up(reinterpret_cast<uintptr_t>(slab->host), 4096);
    madvise(reinterpret_cast<void*>(begin), bytes - 4096, MADV_HUGEPAGE);
  }
#endif
  slab->coherent = bool(flags & vk::MemoryPropertyFlagBits::eHostCoherent);
  slab->base = next_base_;
  next_base_ += round_up(bytes, kAlign) + kAlign;  // a gap: ranges of two slabs never join
  return slab;
}

// Best fit, lowest address first, neighbours joined on release: a training step repeats its sizes, so the
// same requests find the same holes, and no size is rounded up further than 256 bytes.
Memory* Slabs::allocate(uint64_t wanted) {
  const uint64_t most = core_.caps.max_allocation_bytes;
  if (wanted > most) out_of_memory(wanted, "more than one allocation of this driver may be");
  const uint64_t bytes = round_up(std::max<uint64_t>(wanted, 1), kAlign);
  reap();
  if (bytes > slab_bytes_ / 2) {
    // A whole slab: a kept one that is at most a quarter too large, else a new one.
    const auto kept = empties_.lower_bound(bytes);
    Slab* slab;
    if (kept != empties_.end() && kept->first <= bytes + bytes / 4) {
      slab = kept->second;
      empties_.erase(kept);
      cached_ -= slab->bytes;
    } else {
      slab = grow(std::min(round_up(bytes, kMiB), std::max(most, bytes)), true);
    }
    return hand_out(slab, 0, bytes);
  }
  auto hole = holes_.lower_bound({bytes, 0, 0, nullptr});
  if (hole == holes_.end()) {
    if (room() < slab_bytes_) drop_cached();
    Slab* fresh = grow(std::clamp(room() / kMiB * kMiB, std::min(bytes, slab_bytes_), slab_bytes_), false);
    cached_ += fresh->bytes;
    add_hole(fresh, 0, fresh->bytes);
    hole = holes_.lower_bound({bytes, 0, 0, nullptr});
  }
  Slab* slab = hole->slab;
  const uint64_t offset = hole->offset, left = hole->bytes - bytes;
  if (slab->live == 0) cached_ -= slab->bytes;
  remove_hole(slab, slab->holes.find(offset));
  if (left) add_hole(slab, offset + bytes, left);
  return hand_out(slab, offset, bytes);
}

Memory* Slabs::hand_out(Slab* slab, uint64_t offset, uint64_t bytes) {
  Memory* memory;
  if (spare_.empty()) {
    memory = &memories_.emplace_back();
  } else {
    memory = spare_.back();
    spare_.pop_back();
  }
  *memory = {slab, offset, bytes};
  slab->live += bytes;
  core_.stats.live_bytes += bytes;
  core_.stats.peak_bytes = std::max(core_.stats.peak_bytes, core_.stats.live_bytes);
  return memory;
}

void Slabs::release(Memory* memory) {
  if (!memory || !memory->slab) throw Error("ATTN_INTERNAL", "device memory was released twice");
  Slab* slab = memory->slab;
  slab->live -= memory->bytes;
  core_.stats.live_bytes -= memory->bytes;
  if (slab->whole) {
    empties_.emplace(slab->bytes, slab);
  } else {
    uint64_t offset = memory->offset, bytes = memory->bytes;
    auto after = slab->holes.lower_bound(offset);
    if (after != slab->holes.end() && offset + bytes == after->first) {
      bytes += after->second;
      remove_hole(slab, after++);
    }
    if (after != slab->holes.begin()) {
      const auto before = std::prev(after);
      if (before->first + before->second == offset) {
        offset = before->first;
        bytes += before->second;
        remove_hole(slab, before);
      }
    }
    add_hole(slab, offset, bytes);
  }
  memory->slab = nullptr;
  spare_.push_back(memory);
  if (slab->live == 0) {
    cached_ += slab->bytes;
    if (cached_ > pool_limit_) retire(slab);
  }
}

void Slabs::add_hole(Slab* slab, uint64_t offset, uint64_t bytes) {
  slab->holes.emplace(offset, bytes);
  holes_.insert({bytes, slab->base, offset, slab});
}

void Slabs::remove_hole(Slab* slab, std::map<uint64_t, uint64_t>::iterator hole) {
  holes_.erase({hole->second, slab->base, hole->first, slab});
  slab->holes.erase(hole);
}

// Takes an empty slab out of service; reap() gives it back once the queue is done with it.
void Slabs::retire(Slab* slab) {
  while (!slab->holes.empty()) remove_hole(slab, slab->holes.begin());
  const auto [first, last] = empties_.equal_range(slab->bytes);
  for (auto at = first; at != last; ++at) {
    if (at->second != slab) continue;
    empties_.erase(at);
    break;
  }
  cached_ -= slab->bytes;
  const auto at = std::find_if(slabs_.begin(), slabs_.end(), [&](const auto& s) { return s.get() == slab; });
  retired_.splice(retired_.end(), slabs_, at);
}

void Slabs::reap() {
  retired_.remove_if([&](const auto& slab) {
    if (!timeline_.reached(slab->last_use)) return false;
    core_.stats.slab_bytes -= slab->bytes;
    return true;
  });
}

void Slabs::drop_cached() {
  std::vector<Slab*> empty;
  for (const auto& slab : slabs_)
    if (slab->live == 0) empty.push_back(slab.get());
  for (Slab* slab : empty) retire(slab);
  reap();
  if (retired_.empty()) return;
  drain_();
  reap();
}

void Slabs::trim() { drop_cached(); }

Slab* Slabs::grow(uint64_t bytes, bool whole) {
  if (room() < bytes) drop_cached();
  if (room() < bytes) out_of_memory(bytes, "the budget is used up");
  for (int attempt = 0;; ++attempt) {
    try {
      if (core_.fault.oom_always || ++created_ == core_.fault.oom)
        throw vk::OutOfDeviceMemoryError("vkAllocateMemory (injected)");
      auto slab = create(bytes, Use::tensors);
      slab->whole = whole;
      core_.stats.slab_bytes += bytes;
      slabs_.push_back(std::move(slab));
      return slabs_.back().get();
    } catch (const vk::OutOfDeviceMemoryError&) {
    } catch (const vk::OutOfHostMemoryError&) {
    }
    if (attempt == 1) out_of_memory(bytes, "the driver has no more");
    drop_cached();
  }
}

void Slabs::out_of_memory(uint64_t bytes, const char* why) const {
  const auto mib = [](uint64_t n) {
    return n < 10 * kMiB ? std::to_string(n) + " B" : std::to_string(n / kMiB) + " MiB";
  };
  const uint64_t held = core_.stats.slab_bytes, live = core_.stats.live_bytes;
  throw Error("ATTN_OUT_OF_MEMORY",
              "device " + core_.caps.name + " has no room: " + why + " (requested " + mib(bytes) +
                  ", in use " + mib(live) + ", cached " + mib(held - live) + ", budget " + mib(budget()) +
                  ", largest allocation " + mib(core_.caps.max_allocation_bytes) + ")",
              "dispose tensors that are no longer needed, use smaller batches, or raise the memory budget");
}

}  // namespace attn::vulkan
