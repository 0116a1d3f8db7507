// sum, max and argmax over neighbouring elements (rows) or over rows of neighbouring columns.
//
// Accuracy: vectors of fp32 partial sums over at most a few thousand elements, then doubles, so a sum of n
// elements is off by about 1e-7 whatever n. NaN counts as greater than everything; once found it stays.
#include "reduce.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reduce_loops.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 8192;     // elements of a row between carries into the double
constexpr int64_t kFlushRows = 256;  // rows of a column likewise

HWY_INLINE VF zero(float) { return hn::Zero(F32()); }
HWY_INLINE VI zero(int32_t) { return hn::Zero(I32()); }
template <class T>
using Lane = std::conditional_t<std::is_same_v<T, int32_t>, int32_t, float>;
template <class T>
using Tag = hn::ScalableTag<Lane<T>>;

HWY_INLINE float scalar(float x) { return x; }
HWY_INLINE float scalar(Half x) { return to_f32(x); }
HWY_INLINE float scalar(BFloat x) { return to_f32(x); }
HWY_INLINE int32_t scalar(int32_t x) { return x; }

HWY_INLINE double add(double a, float b) { return a + b; }
HWY_INLINE double add(double a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(static_cast<int32_t>(a)) + static_cast<uint32_t>(b));
}

// Is x to take the place of best? Strictly greater, or the first NaN.
HWY_INLINE bool beats(float x, float best) { return x > best || (x != x && best == best); }
HWY_INLINE bool beats(int32_t x, int32_t best) { return x > best; }
HWY_INLINE auto beats(VF x, VF best) {
  return hn::Or(hn::Gt(x, best), hn::AndNot(hn::IsNaN(best), hn::IsNaN(x)));
}
HWY_INLINE auto beats(VI x, VI best) { return hn::Gt(x, best); }
HWY_INLINE bool same(float a, float b) { return a == b || (a != a && b != b); }
HWY_INLINE bool same(int32_t a, int32_t b) { return a == b; }

template <class T>
HWY_INLINE Partial sum_row(const T* p, int64_t n) {
  const Tag<T> d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  double total = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = std::min(n, i + kBlock);
    auto a = zero(Lane<T>{}), b = a, c = a, e = a;
    for (; i + 4 * N <= end; i += 4 * N) {
      a = hn::Add(a, load(p + i));
      b = hn::Add(b, load(p + i + N));
      c = hn::Add(c, load(p + i + 2 * N));
      e = hn::Add(e, load(p + i + 3 * N));
    }
    for (; i + N <= end; i += N) a = hn::Add(a, load(p + i));
    total = add(total, hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e)))));
    for (; i < end; i++) total = add(total, scalar(p[i]));
  }
  return {total, 0};
}

// The greatest of n > 0 elements. A NaN anywhere wins, so max may ignore it as the hardware does.
template <class T>
HWY_INLINE Lane<T> greatest(const T* p, int64_t n) {
  const Tag<T> d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  if (n < N) {
    auto best = scalar(p[0]);
    for (int64_t i = 1; i < n; i++)
      if (const auto x = scalar(p[i]); beats(x, best)) best = x;
    return best;
  }
  auto a = load(p), b = a, c = a, e = a;
  [[maybe_unused]] auto nan = hn::MaskFromVec(hn::Zero(d));
  const auto take = [&](auto& best, auto x) {
    best = hn::Max(best, x);
    if constexpr (!std::is_same_v<T, int32_t>) nan = hn::Or(nan, hn::IsNaN(x));
  };
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    take(a, load(p + i));
    take(b, load(p + i + N));
    take(c, load(p + i + 2 * N));
    take(e, load(p + i + 3 * N));
  }
  for (; i + N <= n; i += N) take(a, load(p + i));
  if (i < n) take(a, load(p + n - N));  // overlaps: harmless to a maximum
  if constexpr (!std::is_same_v<T, int32_t>)
    if (!hn::AllFalse(d, nan)) return std::numeric_limits<float>::quiet_NaN();
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(a, b), hn::Max(c, e))));
}

// The block that holds the greatest element is found first, then the element in it.
template <class T>
HWY_INLINE Partial argmax_row(const T* p, int64_t n) {
  constexpr int64_t kSpan = 512;
  Lane<T> best = greatest(p, std::min(n, kSpan));
  int64_t block = 0;
  for (int64_t i = kSpan; i < n; i += kSpan)
    if (const auto x = greatest(p + i, std::min(kSpan, n - i)); beats(x, best)) best = x, block = i;
  while (!same(scalar(p[block]), best)) block++;
  return {static_cast<double>(best), block};
}

template <class T>
HWY_INLINE void sum_columns(const T* p, int64_t rows, int64_t stride, int64_t columns, bool fresh,
                            ColumnTile& tile) {
  const Tag<T> d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  auto* low = reinterpret_cast<Lane<T>*>(tile.low);
  if (fresh)
    for (int64_t c = 0; c < columns; c++) tile.value[c] = 0;
  const int64_t whole = columns / N * N;
  for (int64_t r = 0; r < rows;) {
    const int64_t end = std::min(rows, r + kFlushRows);
    for (int64_t c = 0; c < columns; c++) low[c] = 0;
    for (; r < end; r += 4) {
      const T* q[4];  // rows past the end are left out by walking fewer
      const int64_t live = std::min<int64_t>(4, end - r);
      for (int64_t k = 0; k < 4; k++) q[k] = p + (r + std::min(k, live - 1)) * stride;
      int64_t c = 0;
      if (live == 4)
        for (; c < whole; c += N) {
          const auto pair =
              hn::Add(hn::Add(load(q[0] + c), load(q[1] + c)), hn::Add(load(q[2] + c), load(q[3] + c)));
          store(hn::Add(load(low + c), pair), low + c);
        }
      else
        for (; c < whole; c += N)
          for (int64_t k = 0; k < live; k++) store(hn::Add(load(low + c), load(q[k] + c)), low + c);
      for (; c < columns; c++)
        for (int64_t k = 0; k < live; k++) {
          if constexpr (std::is_same_v<T, int32_t>)
            low[c] = static_cast<int32_t>(static_cast<uint32_t>(low[c]) + static_cast<uint32_t>(q[k][c]));
          else
            low[c] += scalar(q[k][c]);
        }
    }
    for (int64_t c = 0; c < columns; c++) tile.value[c] = add(tile.value[c], low[c]);
  }
}

template <class T, bool kWhere>
HWY_INLINE void max_columns(const T* p, int64_t rows, int64_t stride, int64_t columns, int64_t first,
                            bool fresh, ColumnTile& tile) {
  const Tag<T> d;
  const I32 di;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  Lane<T>* best = [&] {
    if constexpr (std::is_same_v<T, int32_t>)
      return tile.ibest;
    else
      return tile.best;
  }();
  const int64_t whole = columns / N * N;
  int64_t r = 0;
  if (fresh) {
    for (int64_t c = 0; c < columns; c++) best[c] = scalar(p[c]), tile.at[c] = static_cast<int32_t>(first);
    r = 1;
  }
  for (; r < rows; r++) {
    const T* q = p + r * stride;
    [[maybe_unused]] const VI index = hn::Set(di, static_cast<int32_t>(first + r));
    int64_t c = 0;
    for (; c < whole; c += N) {
      const auto x = load(q + c), old = load(best + c);
      const auto wins = beats(x, old);
      store(hn::IfThenElse(wins, x, old), best + c);
      if constexpr (kWhere)
        store(hn::IfThenElse(hn::RebindMask(di, wins), index, load(tile.at + c)), tile.at + c);
    }
    for (; c < columns; c++)
      if (const auto x = scalar(q[c]); beats(x, best[c]))
        best[c] = x, tile.at[c] = static_cast<int32_t>(first + r);
  }
  for (int64_t c = 0; c < columns; c++) tile.value[c] = best[c];
}

template <class T>
struct Loops {
  static Partial sum(const void* p, int64_t n) { return sum_row(static_cast<const T*>(p), n); }
  static Partial max(const void* p, int64_t n) { return {double(greatest(static_cast<const T*>(p), n)), 0}; }
  static Partial argmax(const void* p, int64_t n) { return argmax_row(static_cast<const T*>(p), n); }
  static void sums(const void* p, int64_t rows, int64_t stride, int64_t columns, int64_t, bool fresh,
                   ColumnTile& tile) {
    sum_columns(static_cast<const T*>(p), rows, stride, columns, fresh, tile);
  }
  static void maxima(const void* p, int64_t rows, int64_t stride, int64_t columns, int64_t first, bool fresh,
                     ColumnTile& tile) {
    max_columns<T, false>(static_cast<const T*>(p), rows, stride, columns, first, fresh, tile);
  }
  static void places(const void* p, int64_t rows, int64_t stride, int64_t columns, int64_t first, bool fresh,
                     ColumnTile& tile) {
    max_columns<T, true>(static_cast<const T*>(p), rows, stride, columns, first, fresh, tile);
  }
  static ReduceLoops of(Reduce op) {
    if (op == Reduce::max) return {max, maxima};
    if (op == Reduce::argmax) return {argmax, places};
    return {sum, sums};
  }
};

ReduceLoops Choose(DType dtype, Reduce op) {
  if (dtype == DType::i32) return Loops<int32_t>::of(op);
  return with_float(dtype, [op](auto t) { return Loops<decltype(t)>::of(op); });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(Choose);
ReduceLoops reduce_loops(DType dtype, Reduce op) { return HWY_DYNAMIC_DISPATCH(Choose)(dtype, op); }
}  // namespace attn::cpu
#endif
