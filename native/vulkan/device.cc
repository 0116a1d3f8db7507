// The face of device.h over the parts behind it.
#include "stream.h"

namespace attn::vulkan {
namespace {

class OpenDevice final : public Device {
 public:
  explicit OpenDevice(const Options& options) : core_(options) {
    core_.guarded("opening", [&] {
      timeline_ = std::make_unique<Timeline>(core_.device);
      slabs_ = std::make_unique<Slabs>(core_, *timeline_, [this] { stream_->finish(); });
      pipelines_ = std::make_unique<Pipelines>(core_);
      stream_ = std::make_unique<Stream>(core_, *timeline_, *slabs_, *pipelines_);
    });
  }

  const Caps& caps() const override { return core_.caps; }
  Memory* allocate(uint64_t bytes) override {
    return core_.guarded("allocation", [&] { return slabs_->allocate(bytes); });
  }
  void release(Memory* memory) override {
    slabs_->release(memory);
  }  // also on a lost device: only books are kept
  void upload(Memory* memory, uint64_t offset, const void* source, uint64_t bytes) override {
    core_.guarded("upload", [&] { stream_->upload(memory, offset, source, bytes); });
  }
  void download(Memory* memory, uint64_t offset, void* target, uint64_t bytes) override {
    core_.guarded("download", [&] { stream_->download(memory, offset, target, bytes); });
  }
  void* mapped(Memory* memory) override {
    if (!memory->slab) throw Error("ATTN_INTERNAL", "released device memory was mapped");
    return core_.caps.unified ? memory->slab->host + memory->offset : nullptr;
  }
  void wait(Memory* memory) override {
    core_.guarded("wait", [&] { stream_->wait_for_writes(memory, 0, memory->bytes); });
  }
  Pipeline* pipeline(std::string_view shader, std::span<const uint32_t> spec) override {
    return core_.guarded("pipeline creation", [&] { return pipelines_->get(shader, spec); });
  }
  void dispatch(Pipeline* pipeline, std::span<const Binding> bindings, std::span<const uint32_t> push,
                uint64_t groups, double seconds) override {
    core_.guarded("dispatch", [&] { stream_->dispatch(pipeline, bindings, push, groups, seconds); });
  }
  void submit() override {
    core_.guarded("submit", [&] { stream_->submit(); });
  }
  void finish() override {
    core_.guarded("finish", [&] { stream_->finish(); });
  }
  Stats stats() const override {
    Stats out = core_.stats;
    out.pooled_bytes = out.slab_bytes - out.live_bytes;
    return out;
  }
  void reset_peak() override { core_.stats.peak_bytes = core_.stats.live_bytes; }
  void trim() override {
    core_.guarded("trim", [&] { slabs_->trim(); });
  }
  std::vector<std::string> take_messages() override { return core_.messages.take(); }

 private:
  Core core_;
  std::unique_ptr<Timeline> timeline_;
  std::unique_ptr<Slabs> slabs_;
  std::unique_ptr<Pipelines> pipelines_;
  std::unique_ptr<Stream> stream_;  // destroyed first: waits for the queue
};

}  // namespace

std::unique_ptr<Device> Device::open(const Options& options) { return std::make_unique<OpenDevice>(options); }

}  // namespace attn::vulkan
