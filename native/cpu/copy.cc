// Kernels that move elements without looking at them: strided views (permute, slice), concat, pad, rows into
// a cache.
#include <hwy/cache_control.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "kernel.h"
#include "strided.h"
#include "team.h"
#include "transpose.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;       // bytes that are worth a thread
constexpr int64_t kPastCaches = 4 << 20;  // bytes of output beyond which it is not kept in the caches

// Calls fn(T{}) with an unsigned integer as wide as an element.
template <class F>
void with_width(int64_t bytes, F&& fn) {
  if (bytes == 1)
    fn(uint8_t{});
  else if (bytes == 2)
    fn(uint16_t{});
  else
    fn(uint32_t{});
}

// Short runs are common (a few channels), and a call to memcpy costs more than they do.
inline void copy_run(char* to, const char* from, int64_t bytes) {
  if (bytes == 4)
    std::memcpy(to, from, 4);
  else if (bytes == 8)
    std::memcpy(to, from, 8);
  else if (bytes == 2)
    std::memcpy(to, from, 2);
  else
    std::memcpy(to, from, static_cast<size_t>(bytes));
}

void copy_flat(char* to, const char* from, int64_t bytes) {
  parallel_for(
      bytes, kGrain, [=](int64_t a, int64_t b) { std::memcpy(to + a, from + a, static_cast<size_t>(b - a)); },
      64);
}

// Rows of `run` bytes, `to_stride` and `from_stride` apart.
void copy_rows(char* to, int64_t to_stride, const char* from, int64_t from_stride, int64_t rows,
               int64_t run) {
  if (rows == 1) return copy_flat(to, from, run);
  parallel_for(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(run, 1)), [=](int64_t a, int64_t b) {
    for (int64_t r = a; r < b; r++) copy_run(to + r * to_stride, from + r * from_stride, run);
  });
}

// out[i] = in[base + strides . index(i)], out contiguous of `dims`.
// When the input's unit-stride axis is not the output's last, the two make a matrix to transpose.
Kernel make_strided(Attrs& attrs) {
  const int64_t bytes = attrs.i(), base = attrs.i();
  Strided view{attrs.list(), attrs.list()};
  if (view.count() == 0) return [](const Operands&) {};
  if (view.dims.empty()) view = {{1}, {1}};
  const int64_t last = view.dims.back(), step = view.strides.back();
  const size_t rank = view.dims.size();

  size_t unit = rank;
  for (size_t k = 0; k + 1 < rank; k++)
    if (view.strides[k] == 1 && view.dims[k] >= 8 && last >= 8) unit = k;
  if (step != 1 && unit < rank) {
    Strided from, to;  // the axes around the matrix, as each side walks them
    int64_t out_stride = 1, unit_out = 0;
    for (size_t k = rank; k-- > 0; out_stride *= view.dims[k]) {
      if (k == unit) unit_out = out_stride;
      if (k == unit || k + 1 == rank) continue;
      from.dims.insert(from.dims.begin(), view.dims[k]);
      from.strides.insert(from.strides.begin(), view.strides[k]);
      to.strides.insert(to.strides.begin(), out_stride);
    }
    to.dims = from.dims;
    const int64_t columns = view.dims[unit], side = tile_side(bytes);
    const int64_t across = (columns + side - 1) / side, down = (last + side - 1) / side;
    const int64_t tiles = from.count() * across * down;
    const TransposeTile tile = transpose_tile(bytes);
    const bool past_caches = view.count() * bytes >= kPastCaches;
    return [=](const Operands& args) {
      parallel_for(tiles, std::max<int64_t>(1, kGrain / (side * 64)), [&](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; t++) {
          const int64_t c = t % across * side, r = t / across % down * side, o = t / across / down;
          const int64_t in_at = base + from.offset(o) + r * step + c,
                        out_at = to.offset(o) + c * unit_out + r;
          tile(static_cast<const char*>(args.in[0]) + in_at * bytes, step,
               static_cast<char*>(args.out[0]) + out_at * bytes, unit_out, std::min(side, last - r),
               std::min(side, columns - c), past_caches);
        }
        if (past_caches) hwy::FlushStream();
      });
    };
  }

  if (step == 1 && rank == 1)
    return [=](const Operands& args) {
      copy_flat(static_cast<char*>(args.out[0]), static_cast<const char*>(args.in[0]) + base * bytes,
                last * bytes);
    };
  Strided runs = view;
  runs.dims.pop_back();
  runs.strides.pop_back();
  return [=](const Operands& args) {
    const char* in = static_cast<const char*>(args.in[0]) + base * bytes;
    // A single long run is shared out too: `cut` pieces of it.
    const int64_t count = runs.count(), cut = count >= team_size() ? 1 : std::min<int64_t>(team_size(), last);
    parallel_for(count * cut, std::max<int64_t>(1, kGrain * cut / (last * bytes)),
                 [&](int64_t begin, int64_t end) {
                   Odometer at(runs, begin / cut);
                   for (int64_t i = begin; i < end; i++) {
                     const int64_t a = last * (i % cut) / cut, b = last * (i % cut + 1) / cut;
                     char* to = static_cast<char*>(args.out[0]) + (i / cut * last + a) * bytes;
                     const char* from = in + (at.offset() + a * step) * bytes;
                     if (step == 1) {
                       copy_run(to, from, (b - a) * bytes);
                     } else {
                       with_width(bytes, [&](auto t) {
                         using T = decltype(t);
                         for (int64_t j = 0; j < b - a; j++)
                           reinterpret_cast<T*>(to)[j] = reinterpret_cast<const T*>(from)[j * step];
                       });
                     }
                     if (i % cut == cut - 1) at.next();
                   }
                 });
  };
}

// concat {rows, runs}: row r of the output is the runs (bytes) of the inputs' rows r, one after the other.
Kernel make_concat(Attrs& attrs) {
  const int64_t rows = attrs.i();
  const std::vector<int64_t> runs = attrs.list();
  int64_t total = 0;
  for (const int64_t run : runs) total += run;
  return [=](const Operands& args) {
    char* to = static_cast<char*>(args.out[0]);
    for (size_t i = 0; i < runs.size(); i++) {
      if (rows * runs[i] > 0)
        copy_rows(to, total, static_cast<const char*>(args.in[i]), runs[i], rows, runs[i]);
      to += runs[i];
    }
  };
}

// pad {bytes, value bits, sizes, before, after}: the axes are merged so that all but the outermost are
// padded. The output is walked in pieces of equal length, each a stretch of its rows.
Kernel make_pad(Attrs& attrs) {
  const int64_t bytes = attrs.i();
  const auto bits = static_cast<uint32_t>(attrs.i());
  const std::vector<int64_t> sizes = attrs.list(), before = attrs.list(), after = attrs.list();
  Strided out;
  int64_t stride = 1;
  std::vector<int64_t> in_strides(sizes.size());
  for (size_t k = sizes.size(); k-- > 0; stride *= sizes[k]) in_strides[k] = stride;
  for (size_t k = 0; k < sizes.size(); k++) out.dims.push_back(before[k] + sizes[k] + after[k]);
  const int64_t count = out.count();
  if (count == 0) return [](const Operands&) {};
  const size_t last = sizes.size() - 1;
  const int64_t row = out.dims[last];
  return [=](const Operands& args) {
    with_width(bytes, [&](auto width) {
      using T = decltype(width);
      const T* in = static_cast<const T*>(args.in[0]);
      T* to = static_cast<T*>(args.out[0]);
      const T value = static_cast<T>(bits);
      parallel_for(
          count, kGrain / bytes,
          [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end;) {
              const int64_t stop = std::min(end, (i / row + 1) * row), first = i / row * row;
              int64_t from = 0, rest = i / row;  // where the row comes from; -1 where all of it is padding
              for (size_t k = last; k-- > 0; rest /= out.dims[k]) {
                const int64_t at = rest % out.dims[k] - before[k];
                from = at < 0 || at >= sizes[k] || from < 0 ? -1 : from + at * in_strides[k];
              }
              const int64_t a = from < 0 ? stop : std::clamp(first + before[last], i, stop);
              const int64_t b = from < 0 ? stop : std::clamp(first + before[last] + sizes[last], a, stop);
              std::fill(to + i, to + a, value);
              if (b > a)
                copy_run(reinterpret_cast<char*>(to + a),
                         reinterpret_cast<const char*>(in + from + (a - first - before[last])),
                         (b - a) * static_cast<int64_t>(sizeof(T)));
              std::fill(to + b, to + stop, value);
              i = stop;
            }
          },
          64);
    });
  };
}

// write_rows_step {batch, capacity, rows, at, bytes of a row}: rows of x into the target, which is out[0].
Kernel make_write_rows(Attrs& attrs) {
  const int64_t batch = attrs.i(), capacity = attrs.i(), rows = attrs.i(), at = attrs.i(), row = attrs.i();
  return [=](const Operands& args) {
    if (batch * rows * row == 0) return;
    copy_rows(static_cast<char*>(args.out[0]) + at * row, capacity * row,
              static_cast<const char*>(args.in[1]), rows * row, batch, rows * row);
  };
}

ATTN_CPU_KERNEL(strided, make_strided);
ATTN_CPU_KERNEL(concat, make_concat);
ATTN_CPU_KERNEL(pad, make_pad);
ATTN_CPU_KERNEL(write_rows_step, make_write_rows);

}  // namespace
}  // namespace attn::cpu
