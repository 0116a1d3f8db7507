// Transposing tiles of elements of 1, 2 or 4 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace attn::cpu {

// A tile is a cache line of elements each way, so that it is read and written by whole lines.
inline constexpr int64_t tile_side(int64_t bytes) { return 64 / bytes; }

// out[c * out_stride + r] = in[r * in_stride + c] for r < rows, c < columns, both at most tile_side.
// `past_caches` writes whole lines around the caches where they are aligned; the caller flushes.
using TransposeTile = void (*)(const void* in, int64_t in_stride, void* out, int64_t out_stride, int64_t rows,
                               int64_t columns, bool past_caches);
TransposeTile transpose_tile(int64_t bytes);

}  // namespace attn::cpu
