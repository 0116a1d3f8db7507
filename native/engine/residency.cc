#include "residency.h"

namespace attn::engine {

Buffer& Residency::at(int32_t id) {
  if (static_cast<size_t>(id) >= table_.size()) table_.resize(std::max<size_t>(id + 1, table_.size() * 2));
  return table_[id];
}

Buffer& Residency::fresh(int32_t id, uint64_t bytes) {
  Buffer& b = at(id);
  if (b.exists) release(id);
  b.bytes = bytes;
  b.exists = true;
  live_++;
  return b;
}

void Residency::adopt(int32_t id, HostBlock block, uint64_t bytes) {
  Buffer& b = fresh(id, bytes);
  b.block = block;
  b.host = block.data;
  b.on_host = true;
}

void Residency::fail(int32_t id, uint64_t bytes, std::shared_ptr<const Error> failure) {
  fresh(id, bytes).failure = std::move(failure);
}

void* Residency::create_on_host(int32_t id, uint64_t bytes) {
  const HostBlock block = pool_.allocate(bytes);  // before the table changes: it may throw
  Buffer& b = fresh(id, bytes);
  b.block = block;
  b.host = block.data;
  b.on_host = true;
  return b.host;
}

vulkan::Memory* Residency::create_on_device(int32_t id, uint64_t bytes) {
  vulkan::Memory* memory = device_->allocate(bytes);
  Buffer& b = fresh(id, bytes);
  b.memory = memory;
  b.on_device = true;
  return memory;
}

void Residency::view(int32_t id, int32_t parent, uint64_t offset) {
  const Buffer& of = at(parent);
  if (!of.exists || of.parent >= 0 || offset > of.bytes)
    throw Error("ATTN_INTERNAL", "a view of a buffer that does not exist, or past its end");
  const uint64_t bytes = of.bytes - offset;
  Buffer& b = fresh(id, bytes);
  b.parent = parent;
  b.offset = offset;
}

const void* Residency::to_host(int32_t id) {
  if (const Buffer& view = at(id); view.parent >= 0) {
    const uint64_t offset = view.offset;
    return static_cast<const char*>(to_host(view.parent)) + offset;
  }
  Buffer& b = at(id);
  if (b.on_host) return b.host;
  if (!b.memory) throw Error("ATTN_INTERNAL", "a buffer was used that does not exist");
  if (void* mapped = device_->mapped(b.memory)) {
    device_->wait(b.memory);
    b.host = mapped;
  } else {
    if (!b.block.data) b.block = pool_.allocate(b.bytes);  // kept where the download fails
    b.host = b.block.data;
    device_->download(b.memory, 0, b.host, b.bytes);
  }
  b.on_host = true;
  return b.host;
}

vulkan::Memory* Residency::to_device(int32_t id) {
  Buffer& b = whole(id);
  if (b.on_device) return b.memory;
  if (!b.on_host) throw Error("ATTN_INTERNAL", "a buffer was used that does not exist");
  if (!b.memory) b.memory = device_->allocate(b.bytes);
  if (b.bytes > 0) device_->upload(b.memory, 0, b.host, b.bytes);
  b.on_device = true;
  return b.memory;
}

void* Residency::change_on_host(int32_t id) {
  void* const bytes = const_cast<void*>(to_host(id));
  Buffer& b = whole(id);
  if (b.memory && device_->mapped(b.memory) == b.host)
    device_->finish();  // the device may still read what the host is about to change; both see it afterwards
  else
    b.on_device = false;
  return bytes;
}

vulkan::Memory* Residency::change_on_device(int32_t id) {
  vulkan::Memory* const memory = to_device(id);
  Buffer& b = whole(id);
  pool_.release(b.block);
  b.block = {};
  b.host = nullptr;
  b.on_host = false;
  return memory;
}

void Residency::drop_storage(Buffer& b) {
  pool_.release(b.block);
  if (b.memory) device_->release(b.memory);
}

void Residency::release(int32_t id) {
  Buffer& b = at(id);
  if (!b.exists) return;
  drop_storage(b);
  b = Buffer{};
  live_--;
}

void Residency::release_all() {
  for (size_t id = 0; id < table_.size(); id++) release(static_cast<int32_t>(id));
}

}  // namespace attn::engine
