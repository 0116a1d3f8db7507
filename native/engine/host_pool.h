// Host memory for tensors: 64-byte aligned blocks in size classes, freed blocks kept for reuse up to a bound.
// Thread-safe: the JavaScript thread fills uploads while the executor allocates outputs.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "types.h"

namespace attn::engine {

struct HostBlock {
  void* data = nullptr;
  uint32_t size_class = 0;
};

struct PoolStats {
  uint64_t live = 0, peak = 0, pooled = 0, budget = 0;
  uint64_t allocations = 0;  // blocks asked for, reused ones included: a deterministic count
};

class HostPool {
 public:
  HostPool(uint64_t budget, uint64_t keep) : budget_(budget), keep_(keep) {}
  ~HostPool() { trim(); }
  HostPool(const HostPool&) = delete;
  HostPool& operator=(const HostPool&) = delete;

  // At least `bytes`, padded to 64. Throws ATTN_OUT_OF_MEMORY past the budget, after returning pooled blocks.
  HostBlock allocate(uint64_t bytes);
  void release(HostBlock);
  void trim();
  PoolStats stats() const;
  void reset_peak();

 private:
  void trim_locked();

  mutable std::mutex mutex_;
  std::vector<std::vector<void*>> free_;  // by size class
  PoolStats stats_;
  const uint64_t budget_, keep_;
};

// What this process may use: the cgroup's limit or the machine's memory, whichever is smaller.
uint64_t host_memory_limit();

}  // namespace attn::engine
