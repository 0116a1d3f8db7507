// embedding_backward {dtype, rows, channels, ids}: out[v, :] = sum of dy[i, :] over the i with ids[i] = v, in
// the order of i. Positions are first sorted by id (a counting sort), so that each row has one owner; threads
// share out the columns, which no repetition of an id unbalances, or where those are few the rows, by what
// they sum.
#include <algorithm>

#include "index.h"
#include "kernel.h"
#include "scratch.h"
#include "team.h"

#ifndef ATTN_CPU_EMBEDDING_BACKWARD
#define ATTN_CPU_EMBEDDING_BACKWARD
namespace attn::cpu {
struct RowLists {
  const int64_t *start, *position;  // row v sums dy rows position[start[v]] .. position[start[v + 1] - 1]
};
struct Box {
  int64_t row, row_end, column, column_end;
};
using SumRows = void (*)(const RowLists& lists, const void* dy, void* out, int64_t channels, const Box& box);
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/embedding_backward.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kVectors = 4;  // columns summed at a time, in vectors
constexpr int64_t kFlush = 64;   // terms between carries, so that rounding errors grow with n / 64

// `kCount` vectors of the rows at[0 .. n), `channels` apart; the last has `lanes` lanes.
template <class T, int64_t kCount>
HWY_INLINE void sum_columns(const T* dy, T* out, int64_t channels, const int64_t* at, int64_t n,
                            size_t lanes) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto part = [&](const T* p, int64_t k) HWY_ATTR {
    return kCount == 1 && lanes < hn::Lanes(d) ? load_n(p, lanes) : load(p + k * N);
  };
  VF total0 = hn::Zero(d), total1 = total0, total2 = total0, total3 = total0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = std::min(n, i + kFlush);
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (; i < end; i++) {
      const T* p = dy + at[i] * channels;
      s0 = hn::Add(s0, part(p, 0));
      if constexpr (kCount > 1) {
        s1 = hn::Add(s1, part(p, 1));
        s2 = hn::Add(s2, part(p, 2));
        s3 = hn::Add(s3, part(p, 3));
      }
    }
    total0 = hn::Add(total0, s0);
    if constexpr (kCount > 1) {
      total1 = hn::Add(total1, s1);
      total2 = hn::Add(total2, s2);
      total3 = hn::Add(total3, s3);
    }
  }
  if constexpr (kCount > 1) {
    store(total0, out), store(total1, out + N), store(total2, out + 2 * N), store(total3, out + 3 * N);
  } else if (lanes < hn::Lanes(d)) {
    store_n(total0, out, lanes);
  } else {
    store(total0, out);
  }
}

template <class T>
void sum_rows(const RowLists& lists, const void* from, void* to, int64_t channels, const Box& box) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(F32()));
  const T* dy = static_cast<const T*>(from);
  for (int64_t v = box.row; v < box.row_end; v++) {
    const int64_t* at = lists.position + lists.start[v];
    const int64_t n = lists.start[v + 1] - lists.start[v];
    T* out = static_cast<T*>(to) + v * channels;
    int64_t c = box.column;
    for (; c + kVectors * N <= box.column_end; c += kVectors * N)
      sum_columns<T, kVectors>(dy + c, out + c, channels, at, n, hn::Lanes(F32()));
    for (; c < box.column_end; c += N)
      sum_columns<T, 1>(dy + c, out + c, channels, at, n,
                        static_cast<size_t>(std::min(N, box.column_end - c)));
  }
}

SumRows choose_sum_rows(DType t) {
  return with_float(t, [](auto element) -> SumRows { return sum_rows<decltype(element)>; });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(choose_sum_rows);

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread
constexpr int64_t kColumns = 64;     // columns that are worth a thread

struct Starts;
struct Positions;

RowLists sort_by_row(const int32_t* ids, int64_t n, int64_t rows) {
  int64_t* start = scratch<Starts, int64_t>(static_cast<size_t>(rows + 1));
  int64_t* position = scratch<Positions, int64_t>(static_cast<size_t>(n));
  std::fill_n(start, rows + 1, 0);
  for (int64_t i = 0; i < n; i++)
    if (!outside(ids[i], rows)) start[ids[i]]++;
  for (int64_t v = 0, sum = 0; v <= rows; v++) sum += start[v], start[v] = sum;  // ends, then from the back
  for (int64_t i = n; i-- > 0;)
    if (!outside(ids[i], rows)) position[--start[ids[i]]] = i;
  return {start, position};
}

Kernel make_embedding_backward(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t rows = attrs.i(), channels = attrs.i(), n = attrs.i();
  const SumRows sum = HWY_DYNAMIC_DISPATCH(choose_sum_rows)(dtype);
  if (rows * channels == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    const RowLists lists = sort_by_row(static_cast<const int32_t*>(args.in[1]), n, rows);
    const void* dy = args.in[0];
    void* out = args.out[0];
    if (channels >= kColumns * team_size()) {
      const int64_t grain = std::max(kColumns, kGrain / (n + rows));
      parallel_for(
          channels, grain,
          [&](int64_t begin, int64_t end) {
            sum(lists, dy, out, channels, {0, rows, begin, end});
          },
          kColumns);
      return;
    }
    // The first row whose work, a unit for itself and one for each term, begins at `work` or later.
    const auto row_at = [&](int64_t work) {
      int64_t low = 0, high = rows;
      while (low < high) {
        const int64_t v = (low + high) / 2;
        if (lists.start[v] + v < work)
          low = v + 1;
        else
          high = v;
      }
      return low;
    };
    const int64_t work = lists.start[rows] + rows;
    parallel_for(work, std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
      sum(lists, dy, out, channels, {row_at(begin), row_at(end), 0, channels});
    });
  };
}

ATTN_CPU_KERNEL(embedding_backward, make_embedding_backward);

}  // namespace
}  // namespace attn::cpu
#endif
