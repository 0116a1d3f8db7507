// Bytes between host and device: straight through mapped memory where that is safe, else through staging
// pieces.
#include <cstring>

#include "stream.h"

namespace attn::vulkan {

void Stream::upload(Memory* memory, uint64_t offset, const void* source, uint64_t bytes) {
  if (!memory->slab || offset + bytes > memory->bytes)
    throw Error("ATTN_INTERNAL", "upload of " + std::to_string(bytes) + " bytes at " +
                                     std::to_string(offset) + " into memory of " +
                                     std::to_string(memory->bytes));
  if (bytes == 0) return;
  core_.stats.bytes_uploaded += bytes;
  if (!memory->slab->host) return stage_up(memory, offset, static_cast<const std::byte*>(source), bytes);
  // Mapped memory that earlier work still reads or writes: a small upload takes its turn in the stream as a
  // copy, a large one waits, because copying it twice costs more.
  if (const uint64_t value = busy_until(memory->range(offset, bytes), false)) {
    if (bytes <= kPiece) return stage_up(memory, offset, static_cast<const std::byte*>(source), bytes);
    wait(value);
  }
  std::memcpy(memory->slab->host + memory->offset + offset, source, bytes);
}

void Stream::download(Memory* memory, uint64_t offset, void* target, uint64_t bytes) {
  if (!memory->slab || offset + bytes > memory->bytes)
    throw Error("ATTN_INTERNAL", "download of " + std::to_string(bytes) + " bytes at " +
                                     std::to_string(offset) + " from memory of " +
                                     std::to_string(memory->bytes));
  if (bytes == 0) return;
  core_.stats.bytes_downloaded += bytes;
  if (!core_.caps.unified) return stage_down(memory, offset, static_cast<std::byte*>(target), bytes);
  wait_for_writes(memory, offset, bytes);
  std::memcpy(target, memory->slab->host + memory->offset + offset, bytes);
}

void Stream::wait_for_writes(Memory* memory, uint64_t offset, uint64_t bytes) {
  if (!memory->slab) throw Error("ATTN_INTERNAL", "released device memory was waited for");
  wait(busy_until(memory->range(offset, bytes), true));
}

void Stream::copy(Slab& from, uint64_t from_offset, Slab& to, uint64_t to_offset, uint64_t bytes) {
  const Touch touches[] = {{{from.base + from_offset, from.base + from_offset + bytes}, false},
                           {{to.base + to_offset, to.base + to_offset + bytes}, true}};
  order(touches);
  Slot& slot = recording();
  slot.commands.copyBuffer(*from.buffer, *to.buffer,
                           vk::BufferCopy{.srcOffset = from_offset, .dstOffset = to_offset, .size = bytes});
  note(slot, touches);
  from.last_use = to.last_use = slot.value;
}

void Stream::stage_up(Memory* memory, uint64_t offset, const std::byte* source, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    Piece* piece = &up_[up_at_];
    if (piece->slab && piece->used == kPiece) {
      up_at_ = (up_at_ + 1) % up_.size();
      piece = &up_[up_at_];
      if (piece->slab) wait(piece->slab->last_use);
      piece->used = 0;
      submit();  // the queue works on one piece while the next is filled
    }
    if (!piece->slab) piece->slab = slabs_.create(kPiece, Use::upload);
    const uint64_t n = std::min(bytes - done, kPiece - piece->used);
    std::memcpy(piece->slab->host + piece->used, source + done, n);
    copy(*piece->slab, piece->used, *memory->slab, memory->offset + offset + done, n);
    piece->used = std::min(kPiece, (piece->used + n + 255) / 256 * 256);
    done += n;
  }
}

void Stream::stage_down(Memory* memory, uint64_t offset, std::byte* target, uint64_t bytes) {
  struct Chunk {
    uint64_t value = 0, at = 0, bytes = 0;
  };
  Chunk previous;
  const auto collect = [&](const Chunk& chunk, Slab& slab) {
    wait(chunk.value);
    if (!slab.coherent)
      core_.device.invalidateMappedMemoryRanges(
          vk::MappedMemoryRange{.memory = *slab.memory, .size = VK_WHOLE_SIZE});
    std::memcpy(target + chunk.at, slab.host, chunk.bytes);
  };
  size_t turn = 0;
  for (uint64_t done = 0; done < bytes; turn ^= 1) {
    Piece& piece = down_[turn];
    if (!piece.slab) piece.slab = slabs_.create(kPiece, Use::download);
    const uint64_t n = std::min(bytes - done, kPiece);
    copy(*memory->slab, memory->offset + offset + done, *piece.slab, 0, n);
    const Chunk chunk{piece.slab->last_use, done, n};
    submit();  // the queue copies this chunk while the host takes the one before it
    if (previous.bytes) collect(previous, *down_[turn ^ 1].slab);
    previous = chunk;
    done += n;
  }
  collect(previous, *down_[turn ^ 1].slab);
}

}  // namespace attn::vulkan
