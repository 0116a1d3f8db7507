// Device memory: slabs from the driver, best-fit ranges of them to the engine.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <set>

#include "core.h"
#include "ranges.h"

namespace attn::vulkan {

// One VkDeviceMemory with one VkBuffer over all of it, mapped for good where the host can see it.
struct Slab {
  vk::raii::DeviceMemory memory{nullptr};
  vk::raii::Buffer buffer{nullptr};
  uint64_t bytes = 0;
  uint64_t base = 0;  // where it lies on the number line of ranges.h
  std::byte* host = nullptr;
  bool coherent = true;
  bool whole = false;                  // serves one allocation at a time
  uint64_t live = 0;                   // bytes handed out
  uint64_t last_use = 0;               // timeline value of the last work that touches it
  std::map<uint64_t, uint64_t> holes;  // offset -> bytes, never two that touch
};

struct Memory {
  Slab* slab = nullptr;  // null: released
  uint64_t offset = 0, bytes = 0;
  Range range(uint64_t at, uint64_t n) const {
    return {slab->base + offset + at, slab->base + offset + at + n};
  }
};

// What a piece of memory is for decides its memory type.
enum class Use { tensors, upload, download };

class Slabs {
 public:
  // `drain` submits what is recorded and waits for the queue: the last resort before "out of memory".
  Slabs(Core&, Timeline&, std::function<void()> drain);

  Memory* allocate(uint64_t bytes);
  void release(Memory*);
  void trim();
  std::unique_ptr<Slab> create(uint64_t bytes, Use);  // outside the budget: staging
  bool host_visible() const { return direct_; }

 private:
  struct Hole {
    uint64_t bytes, base, offset;
    Slab* slab;
    bool operator<(const Hole& o) const {
      return bytes != o.bytes ? bytes < o.bytes : base != o.base ? base < o.base : offset < o.offset;
    }
  };
  using List = std::list<std::unique_ptr<Slab>>;

  void choose_types();
  uint64_t budget() const;
  uint64_t room() const;  // what the budget leaves
  Slab* grow(uint64_t bytes, bool whole);
  void drop_cached();
  void retire(Slab*);
  void reap();
  void add_hole(Slab*, uint64_t offset, uint64_t bytes);
  void remove_hole(Slab*, std::map<uint64_t, uint64_t>::iterator);
  Memory* hand_out(Slab*, uint64_t offset, uint64_t bytes);
  [[noreturn]] void out_of_memory(uint64_t bytes, const char* why) const;

  Core& core_;
  Timeline& timeline_;
  std::function<void()> drain_;
  uint32_t types_[3] = {};  // memory type by Use
  bool direct_ = false;     // tensors are mapped
  uint64_t heap_bytes_ = 0, slab_bytes_ = 0, pool_limit_ = 0;
  uint64_t cached_ = 0;  // bytes of slabs that hold nothing
  uint64_t next_base_ = 0, created_ = 0;
  List slabs_, retired_;
  std::set<Hole> holes_;                    // of slabs that are shared
  std::multimap<uint64_t, Slab*> empties_;  // of slabs that are whole, by size
  std::deque<Memory> memories_;
  std::vector<Memory*> spare_;
};

}  // namespace attn::vulkan
