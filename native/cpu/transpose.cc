// A tile goes through a small buffer: lines of the input are read whole, transposed in registers block by
// block, and lines of the output are written whole. Strides that are powers of two would otherwise evict
// half-used lines from the caches.
#include "transpose.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/transpose.cc"
#include "targets.h"

#include <hwy/foreach_target.h>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A square of 16-byte rows. Interleaving row i with row i + half, log2(N) times over, is a transposition.
template <class T>
HWY_INLINE void block(const T* in, int64_t in_stride, T* out, int64_t out_stride) {
  const hn::FixedTag<T, 16 / sizeof(T)> d;
  using V = hn::Vec<decltype(d)>;
  constexpr int N = 16 / sizeof(T);
  V a[N], b[N];
  for (int i = 0; i < N; i++) a[i] = hn::LoadU(d, in + i * in_stride);
  for (int step = 1; step < N; step *= 2) {
    for (int i = 0; i < N / 2; i++) {
      b[2 * i] = hn::InterleaveLower(d, a[i], a[i + N / 2]);
      b[2 * i + 1] = hn::InterleaveUpper(d, a[i], a[i + N / 2]);
    }
    for (int i = 0; i < N; i++) a[i] = b[i];
  }
  for (int i = 0; i < N; i++) hn::Store(a[i], d, out + i * out_stride);
}

template <class T>
void tile(const void* from, int64_t in_stride, void* to, int64_t out_stride, int64_t rows, int64_t columns,
          bool past_caches) {
  constexpr int64_t side = tile_side(sizeof(T)), step = 16 / sizeof(T);
  const T* in = static_cast<const T*>(from);
  T* out = static_cast<T*>(to);
  if (rows < side || columns < side) {
    for (int64_t c = 0; c < columns; c++)
      for (int64_t r = 0; r < rows; r++) out[c * out_stride + r] = in[r * in_stride + c];
    return;
  }
  alignas(64) T buffer[side * side];
  for (int64_t r = 0; r < side; r += step)
    for (int64_t c = 0; c < side; c += step)
      block(in + r * in_stride + c, in_stride, buffer + c * side + r, side);
  const bool aligned = reinterpret_cast<uintptr_t>(out) % 64 == 0 && out_stride % side == 0;
  const hn::FixedTag<T, 16 / sizeof(T)> d;
  for (int64_t c = 0; c < side; c++) {
    T* line = out + c * out_stride;
    if (past_caches && aligned)
      for (int64_t r = 0; r < side; r += step) hn::Stream(hn::Load(d, buffer + c * side + r), d, line + r);
    else
      std::memcpy(line, buffer + c * side, 64);
  }
}

TransposeTile Choose(int64_t bytes) {
  return bytes == 1 ? tile<uint8_t> : bytes == 2 ? tile<uint16_t> : tile<uint32_t>;
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(Choose);
TransposeTile transpose_tile(int64_t bytes) { return HWY_DYNAMIC_DISPATCH(Choose)(bytes); }
}  // namespace attn::cpu
#endif
