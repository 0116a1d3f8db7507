// Buffers and where each is valid: on the host, on the device, or both. Copies happen only here, when an
// instruction runs on a side where an operand is not yet valid. Used from the executor thread alone.
#pragma once

#include <memory>
#include <vector>

#include "../vulkan/device.h"
#include "host_pool.h"

namespace attn::engine {

struct Buffer {
  uint64_t bytes = 0;
  bool exists = false, on_host = false, on_device = false;
  void* host = nullptr;  // the block's data, or the device memory where that is unified
  HostBlock block;
  vulkan::Memory* memory = nullptr;
  std::shared_ptr<const Error> failure;  // why the op that should have filled it did not
  int32_t parent = -1;  // a view: `offset` bytes into the parent, which holds everything else
  uint64_t offset = 0;
};

class Residency {
 public:
  Residency(HostPool& pool, vulkan::Device* device) : pool_(pool), device_(device) {}

  // Grows the table as needed. Operands of the instruction that is running must be looked up after the last
  // at().
  Buffer& at(int32_t id);
  // The buffer that holds the bytes of this one: a view's parent, or itself.
  Buffer& whole(int32_t id) {
    const int32_t parent = at(id).parent;
    return parent < 0 ? at(id) : at(parent);
  }
  uint64_t offset(int32_t id) { return at(id).offset; }
  size_t size() const { return table_.size(); }

  void adopt(int32_t id, HostBlock block, uint64_t bytes);
  void fail(int32_t id, uint64_t bytes, std::shared_ptr<const Error>);
  // Names the bytes of another buffer from `offset` on; the parent outlives it.
  void view(int32_t id, int32_t parent, uint64_t offset);
  // A fresh output, valid on that side once the kernel has run.
  void* create_on_host(int32_t id, uint64_t bytes);
  vulkan::Memory* create_on_device(int32_t id, uint64_t bytes);
  // Makes the buffer valid on that side; device to host waits for the device. to_host gives the view's own
  // bytes, to_device the memory that holds them at offset(id).
  const void* to_host(int32_t id);
  vulkan::Memory* to_device(int32_t id);
  // As above, for an op that changes the buffer in place: the other side's copy is void from then on.
  void* change_on_host(int32_t id);
  vulkan::Memory* change_on_device(int32_t id);
  void release(int32_t id);
  void release_all();

  uint64_t live_buffers() const { return live_; }

 private:
  Buffer& fresh(int32_t id, uint64_t bytes);
  void drop_storage(Buffer&);

  HostPool& pool_;
  vulkan::Device* device_;  // null where there is none
  std::vector<Buffer> table_;
  uint64_t live_ = 0;
};

}  // namespace attn::engine
