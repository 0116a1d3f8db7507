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
};

class Residency {
 public:
  Residency(HostPool& pool, vulkan::Device* device) : pool_(pool), device_(device) {}

  // Grows the table as needed. Operands of the instruction that is running must be looked up after the last
  // at().
  Buffer& at(int32_t id);
  size_t size() const { return table_.size(); }

  void adopt(int32_t id, HostBlock block, uint64_t bytes);
  void fail(int32_t id, uint64_t bytes, std::shared_ptr<const Error>);
  // A fresh output, valid on that side once the kernel has run.
  void* create_on_host(int32_t id, uint64_t bytes);
  vulkan::Memory* create_on_device(int32_t id, uint64_t bytes);
  // Makes the buffer valid on that side; device to host waits for the device.
  const void* to_host(int32_t id);
  vulkan::Memory* to_device(int32_t id);
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
