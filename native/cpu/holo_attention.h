// Holographic attention (src/ops/holo-attention.ts): sizes of a call, and how its frequencies are shared out.
//
// A task is a range of blocks of 16 frequencies of one batch, which it takes token by token: rows are read as
// they lie, and the states of the blocks stay in the caches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernel.h"
#include "scratch.h"
#include "team.h"

namespace attn::cpu {

inline constexpr int64_t kHoloChunk = 32;  // = src/ops/holo-attention.walk.ts
inline constexpr float kHoloLeast = 1e-6f;
inline constexpr int64_t kHoloAhead = 16;  // blocks between what is asked of memory and what is read
inline constexpr int64_t kHoloBlock = 16;  // frequencies, a multiple of every vector's lanes

struct HoloShape {
  DType dtype;
  int64_t B, T, H, R, F;
  bool decay, keep, state;

  explicit HoloShape(Attrs& attrs) : dtype(attrs.dtype()) {
    B = attrs.i(), T = attrs.i(), H = attrs.i(), R = attrs.i(), F = attrs.i();
    decay = attrs.b(), keep = attrs.b(), state = attrs.b();
  }
  int64_t chunks() const { return (T + kHoloChunk - 1) / kHoloChunk; }
  int64_t head_state() const { return (2 * R + 1) * F; }
  int64_t blocks() const { return H * ((F + kHoloBlock - 1) / kHoloBlock); }  // of one token
  int64_t row() const { return (2 * R + 1) * H * 2 * F; }                     // elements of a token of qkv
  // Of a block, in floats: each copy's real and imaginary parts, then n.
  int64_t block_state() const { return (2 * R + 1) * kHoloBlock; }
};

// Places of a block's first frequency in a token's rows.
struct HoloBlock {
  int64_t q, k;   // of copy 0 in qkv; 2 F further on those of the next
  int64_t v, o;   // in qkv and in o
  int64_t decay;  // in decay
  int64_t state;  // in the states of all heads
  int64_t lanes;  // frequencies, at most kHoloBlock
};

inline std::vector<HoloBlock> holo_blocks(const HoloShape& s) {
  std::vector<HoloBlock> blocks;
  const int64_t D = 2 * s.F;
  for (int64_t h = 0; h < s.H; h++)
    for (int64_t f = 0; f < s.F; f += kHoloBlock)
      blocks.push_back({h * s.R * D + f, (s.H + h) * s.R * D + f, (2 * s.R * s.H + h) * D + f, h * D + f,
                        h * s.F + f, h * s.head_state() + f, std::min(kHoloBlock, s.F - f)});
  return blocks;
}

// The state of a block between the tensors' layout and the scratch's, where lanes beyond the head are 0.
inline void holo_load_state(const HoloShape& s, const HoloBlock& b, const float* states, float* to) {
  for (int64_t part = 0; part < 2 * s.R + 1; part++) {
    std::fill_n(to + part * kHoloBlock, kHoloBlock, 0.0f);
    if (states) std::copy_n(states + b.state + part * s.F, b.lanes, to + part * kHoloBlock);
  }
}
inline void holo_store_state(const HoloShape& s, const HoloBlock& b, const float* from, float* states) {
  for (int64_t part = 0; part < 2 * s.R + 1; part++)
    std::copy_n(from + part * kHoloBlock, b.lanes, states + b.state + part * s.F);
}

// Calls fn(b, first, end) for ranges of blocks of one batch, of at most `most` blocks, on the team.
template <class F>
void holo_tasks(const HoloShape& s, int64_t most, F&& fn) {
  constexpr int64_t kGrain = 1 << 11;  // frequencies of tokens that are worth a thread
  const int64_t blocks = s.blocks();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, s.T * s.R * kHoloBlock));
  parallel_for(s.B * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int64_t b = at / blocks, first = at % blocks;
      const int64_t n = std::min({most, blocks - first, end - at});
      fn(b, first, first + n);
      at += n;
    }
  });
}

}  // namespace attn::cpu
