#include "host_pool.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>

namespace attn::engine {
namespace {

constexpr uint64_t kAlign = 64, kHuge = 2u << 20;

// Four classes to a power of two: at most 25 % of a block is slack.
// Class c holds (4 + c % 4) * 2^(c / 4) * 16 bytes: 64, 80 -> rounded up to 128, ...
uint64_t class_bytes(uint32_t c) {
  const uint64_t bytes = (uint64_t{4} + c % 4) << (c / 4 + 4);
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

uint32_t class_of(uint64_t bytes) {
  bytes = std::max(bytes, kAlign);
  uint32_t c = (std::bit_width(bytes) - 7) * 4;  // the class that begins at this power of two
  while (class_bytes(c) < bytes) c++;
  return c;
}

}  // namespace

HostBlock HostPool::allocate(uint64_t bytes) {
  const auto refuse = [&](const PoolStats& now) {
    throw Error("ATTN_OUT_OF_MEMORY",
                "host memory: requested " + std::to_string(bytes) + " bytes with " +
                    std::to_string(now.live) + " in use of a budget of " + std::to_string(budget_),
                "dispose tensors, use scope(), or raise ATTN_VK_HOST_BUDGET (bytes)");
  };
  if (bytes > uint64_t{1} << 47) refuse(stats());  // beyond every size class
  const uint32_t c = class_of(bytes);
  const uint64_t size = class_bytes(c);
  {
    std::lock_guard lock(mutex_);
    if (c >= free_.size()) free_.resize(c + 1);
    stats_.allocations++;
    // A block a little larger will do, where its class has one to spare: better slack than more memory.
    for (uint32_t k = c; k < std::min<size_t>(c + 3, free_.size()); k++) {
      if (free_[k].size() < (k == c ? 1u : 2u)) continue;
      void* data = free_[k].back();
      free_[k].pop_back();
      stats_.pooled -= class_bytes(k);
      stats_.live += class_bytes(k);
      stats_.peak = std::max(stats_.peak, stats_.live);
      return {data, k};
    }
    if (stats_.live + stats_.pooled + size > budget_) trim_locked();
    if (stats_.live + size > budget_) refuse(stats_);
    stats_.live += size;
    stats_.peak = std::max(stats_.peak, stats_.live);
  }
  const uint64_t align = size >= kHuge ? kHuge : kAlign;
  void* data = std::aligned_alloc(align, (size + align - 1) / align * align);
  if (!data) {
    std::lock_guard lock(mutex_);
    stats_.live -= size;
    throw Error("ATTN_OUT_OF_MEMORY", "the system refused " + std::to_string(bytes) + " bytes of host memory",
                "dispose tensors or use scope()");
  }
#ifdef MADV_HUGEPAGE
  if (size >= kHuge)
    madvise(data, size, MADV_HUGEPAGE);  // fewer page faults and TLB misses in streaming kernels
#endif
  return {data, c};
}

void HostPool::release(HostBlock block) {
  if (!block.data) return;
  const uint64_t size = class_bytes(block.size_class);
  std::lock_guard lock(mutex_);
  stats_.live -= size;
  if (stats_.pooled + size > keep_) {
    std::free(block.data);
    return;
  }
  stats_.pooled += size;
  free_[block.size_class].push_back(block.data);
}

void HostPool::trim() {
  std::lock_guard lock(mutex_);
  trim_locked();
}

void HostPool::trim_locked() {
  for (auto& list : free_) {
    for (void* data : list) std::free(data);
    list.clear();
  }
  stats_.pooled = 0;
}

PoolStats HostPool::stats() const {
  std::lock_guard lock(mutex_);
  PoolStats s = stats_;
  s.budget = budget_;
  return s;
}

void HostPool::reset_peak() {
  std::lock_guard lock(mutex_);
  stats_.peak = stats_.live;
}

uint64_t host_memory_limit() {
  uint64_t limit =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    uint64_t value = 0;
    if (std::ifstream file(path); file >> value && value > 0) limit = std::min(limit, value);
  }
  return limit;
}

}  // namespace attn::engine
