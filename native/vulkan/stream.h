// The in-order stream: a ring of command buffers over one timeline, barriers where ranges collide, transfers.
#pragma once

#include <array>

#include "memory.h"
#include "pipeline.h"

namespace attn::vulkan {

class Stream {
 public:
  Stream(Core&, Timeline&, Slabs&, Pipelines&);
  ~Stream();  // waits for the queue

  void dispatch(Pipeline*, std::span<const Binding>, std::span<const uint32_t> push, uint64_t groups,
                double seconds);
  void upload(Memory*, uint64_t offset, const void* source, uint64_t bytes);
  void download(Memory*, uint64_t offset, void* target, uint64_t bytes);
  void wait_for_writes(Memory*, uint64_t offset, uint64_t bytes);
  void submit();
  void finish();
  std::string in_flight() const;  // shaders of the submits that have not completed, latest last

 private:
  static constexpr size_t kRing = 8;              // submits that the host may be ahead of the queue
  static constexpr uint32_t kLaunches = 256;      // per submit, and so descriptor sets per command buffer
  static constexpr double kSubmitSeconds = 0.02;  // estimated work per submit
  static constexpr double kSplitSeconds = 0.05;   // a launch above this is split
  static constexpr double kUnknownSeconds = 50e-6;

  struct Slot {
    vk::raii::CommandPool pool{nullptr};
    vk::raii::CommandBuffer commands{nullptr};
    vk::raii::DescriptorPool set_pool{nullptr};
    std::vector<vk::DescriptorSet> sets;  // of set_pool, written anew by every launch
    uint32_t launches = 0;
    uint64_t value = 0;  // timeline value that its submit signals; 0: never used
    Ranges reads, writes;
    std::vector<const Pipeline*> shaders;
    const Pipeline* bound = nullptr;
  };
  struct Touch {
    Range range;
    bool write;
  };

  Slot& recording();  // the open command buffer, opened if there is none
  void order(std::span<const Touch>);
  void note(Slot&, std::span<const Touch>);
  void barrier(Slot&, vk::PipelineStageFlags to, vk::AccessFlags access);
  void launch(Slot&, Pipeline*, std::span<const Binding>, std::span<const uint32_t> push, uint32_t base,
              uint32_t n);
  void check(const Pipeline*, std::span<const Binding>, std::span<const uint32_t> push,
             uint64_t groups) const;
  void copy(Slab& from, uint64_t from_offset, Slab& to, uint64_t to_offset, uint64_t bytes);
  // The highest timeline value of unfinished work that touches the range (only its writes, if asked); 0:
  // none.
  uint64_t busy_until(Range, bool writes_only);
  void wait(uint64_t value);  // submits first where the value is being recorded
  void stage_up(Memory*, uint64_t offset, const std::byte* source, uint64_t bytes);
  void stage_down(Memory*, uint64_t offset, std::byte* target, uint64_t bytes);

  Core& core_;
  Timeline& timeline_;
  Slabs& slabs_;
  Pipelines& pipelines_;
  std::array<Slot, kRing> ring_;
  size_t slot_ = 0;
  bool open_ = false;
  double pending_seconds_ = 0;
  Ranges reads_, writes_;  // since the last barrier
  std::vector<Touch> touches_;

  // Staging: pieces used in turn, each free again when its last copy is done.
  static constexpr uint64_t kPiece = uint64_t{4} << 20;
  struct Piece {
    std::unique_ptr<Slab> slab;
    uint64_t used = 0;
  };
  std::array<Piece, 4> up_;
  std::array<Piece, 2> down_;
  size_t up_at_ = 0;
};

}  // namespace attn::vulkan
