// The Vulkan backend as the engine sees it: no Vulkan type crosses this header.
//
// One Device = one logical device, one queue, one in-order stream, used from one thread (the executor's).
// Nothing here waits unless its comment says so, but for two cases: dispatch and submit once the host is
// eight submits ahead of the queue, allocate before it gives up for want of room. Every failure is an
// attn::Error: ATTN_DEVICE (cannot be opened), ATTN_OUT_OF_MEMORY, ATTN_DEVICE_LOST, ATTN_INTERNAL.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../engine/types.h"

namespace attn::vulkan {

// Mirrors Caps in src/runtime/binding.ts, field by field.
struct Caps {
  uint32_t index = 0;
  std::string name, type, driver_name, driver_info, api_version, uuid;
  uint32_t vendor_id = 0, device_id = 0, driver_version = 0;
  uint32_t subgroup_size = 0, subgroup_min = 0, subgroup_max = 0;
  std::vector<std::string> subgroup_ops;
  uint32_t max_invocations = 0, max_group_size[3] = {}, max_group_count[3] = {};
  uint32_t shared_bytes = 0, max_bindings = 0, max_push_bytes = 0;
  uint64_t max_binding_bytes = 0, offset_alignment = 0, max_allocation_bytes = 0, heap_bytes = 0;
  bool unified = false, float16 = false, storage16 = false, timeline_semaphore = false,
       cooperative_matrix = false;
  double timestamp_period_ns = 0;
  std::string unusable;  // why it cannot be used
};

// What `doctor` tells: how the loader was found, which drivers (ICD files) there are, every device.
struct Survey {
  bool loader = false;
  std::string loader_path, loader_version, loader_error;
  std::vector<std::string> drivers;  // ICD manifests that the loader would read, with what is wrong with them
  std::vector<std::string> layers;   // instance layers that matter (validation)
  std::vector<std::string> attempts;  // what was tried and how it ended, in order
  std::vector<Caps> devices;
};

// Lists everything; never throws, whatever the state of loader, drivers and ICD files.
Survey survey();

struct Options {
  uint32_t index = 0;          // in Survey::devices
  bool validate = false;       // Khronos validation layer, messages collected
  std::string cache_folder{};  // pipeline cache is kept here; empty: not kept
  uint64_t memory_budget = 0;  // bytes; 0: a share of the heap (VK_EXT_memory_budget where there is one)
  uint64_t pool_limit = 0;     // bytes of free slabs kept; 0: a default share
  std::function<void(const std::string&)> warn{};  // corrupt cache file and the like
  std::string
      fault{};  // failures on demand, for tests: core.h lists them; empty: the environment's ATTN_VK_FAULT
};

struct Memory;    // a range of a slab; opaque to the engine
struct Pipeline;  // shader + specialisation constants; opaque

struct Binding {
  Memory* memory;
  uint64_t offset, bytes;  // within the memory; offset is a multiple of caps().offset_alignment
  bool write;
};

struct Stats {
  uint64_t dispatches, barriers, submits, pipelines, slab_bytes, live_bytes, peak_bytes, pooled_bytes;
  uint64_t bytes_uploaded, bytes_downloaded;
};

class Device {
 public:
  static std::unique_ptr<Device> open(const Options&);
  virtual ~Device() = default;  // waits for the queue, saves the pipeline cache

  virtual const Caps& caps() const = 0;

  // Memory of at least `bytes` (padded to 256). Released memory may be handed out again at once: the stream
  // orders what the GPU does to it, and upload() waits or stages where the GPU is not yet done with it.
  virtual Memory* allocate(uint64_t bytes) = 0;
  virtual void release(Memory*) = 0;

  // Host bytes to device, in stream order; `source` may be reused when it returns. Waits where more than the
  // staging holds goes to memory that the queue still uses, or that the host does not see.
  virtual void upload(Memory*, uint64_t offset, const void* source, uint64_t bytes) = 0;
  // Submits, waits for everything that touches the memory, copies out.
  virtual void download(Memory*, uint64_t offset, void* target, uint64_t bytes) = 0;
  // The memory as the CPU sees it where memory is unified, else nullptr. Valid to read after wait() or
  // finish().
  virtual void* mapped(Memory*) = 0;
  // Submits if need be, and waits for the work that writes the memory: what comes after it runs on.
  virtual void wait(Memory*) = 0;

  // Compiled on first use and kept; throws ATTN_INTERNAL on an unknown shader, ATTN_DEVICE where the driver
  // refuses.
  virtual Pipeline* pipeline(std::string_view shader, std::span<const uint32_t> spec) = 0;

  // Records one launch: folds `groups` past the device's grid limit, adds a barrier when a binding's range
  // was written (or is written and was read) since the last one, and submits when the work recorded so far is
  // worth more than the time budget. A launch estimated longer than that is split over several submits.
  // `push` excludes the {base, count} header. `seconds` is the router's estimate.
  virtual void dispatch(Pipeline*, std::span<const Binding>, std::span<const uint32_t> push, uint64_t groups,
                        double seconds) = 0;
  // Hands what is recorded to the queue.
  virtual void submit() = 0;
  // submit(), then waits until the queue is done.
  virtual void finish() = 0;

  virtual Stats stats() const = 0;
  virtual void reset_peak() = 0;  // begins a new peak of live bytes
  virtual void trim() = 0;        // returns free slabs to the driver; waits where the queue still uses one
  // Validation messages since the last call.
  virtual std::vector<std::string> take_messages() = 0;
};

}  // namespace attn::vulkan
