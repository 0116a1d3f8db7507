// The inner loops of reductions, one set for each instruction set; reduce.cc walks the axes around them.
#pragma once

#include <cstdint>

#include "../engine/types.h"

namespace attn::cpu {

enum class Reduce : uint8_t { sum = 0, mean = 1, max = 2, argmax = 3 };

// What a part of a reduction came to: sums in double (int32 sums wrap modulo 2^32 at every step), or the
// greatest value and, for argmax, where it stood first.
struct Partial {
  double value;
  int64_t at;
};

// Reduces n > 0 neighbouring elements.
using ReduceRow = Partial (*)(const void* row, int64_t n);

// Columns accumulate side by side; a tile of them fits in the nearest cache.
inline constexpr int64_t kColumnTile = 1024;
struct ColumnTile {
  alignas(64) float low[kColumnTile];     // fp32 sums of a few hundred rows, carried into `value`
  alignas(64) double value[kColumnTile];  // sums, and what leaves the tile
  alignas(64) float best[kColumnTile];
  alignas(64) int32_t ibest[kColumnTile];
  alignas(64) int32_t at[kColumnTile];
};

// Folds `rows` rows, `stride` elements apart, of `columns` <= kColumnTile columns into the tile; the first
// has the linear reduction index `first`, and `fresh` says that the tile holds nothing yet.
using ReduceColumns = void (*)(const void* rows_at, int64_t rows, int64_t stride, int64_t columns,
                               int64_t first, bool fresh, ColumnTile& tile);

struct ReduceLoops {
  ReduceRow row;
  ReduceColumns columns;
};
ReduceLoops reduce_loops(DType dtype, Reduce op);

}  // namespace attn::cpu
