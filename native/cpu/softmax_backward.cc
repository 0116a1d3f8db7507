// softmax_backward {logs, dtype, outer, n, inner} over the middle axis of [outer, n, inner], from dy and y:
// dx = y (dy - sum(dy y)) where y is a softmax, dy - exp(y) sum(dy) where it is the logarithm of one. A line
// of logarithms that are all -inf has no gradient: it gives 0.
#include <algorithm>
#include <limits>

#include "kernel.h"
#include "team.h"

#ifndef ATTN_CPU_SOFTMAX_BACKWARD
#define ATTN_CPU_SOFTMAX_BACKWARD
namespace attn::cpu {
struct SoftmaxBackwardLoops {
  void (*rows)(const void* dy, const void* y, void* dx, int64_t rows, int64_t n, bool past_caches);
  void (*columns)(const void* dy, const void* y, void* dx, int64_t n, int64_t stride, int64_t columns);
};
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/softmax_backward.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "exp_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 4096;     // elements between carries into the double
constexpr int64_t kTile = 512;       // columns side by side
constexpr int64_t kFlushRows = 256;  // rows of fp32 partial sums of a column
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// What a line sums, and its gradient once `sum` and its greatest y are known.
template <bool kLogs>
HWY_INLINE VF summand(VF dy, VF y) {
  return kLogs ? dy : hn::Mul(dy, y);
}
template <bool kLogs>
HWY_INLINE VF gradient(VF dy, VF y, VF sum, VF most) {
  if constexpr (!kLogs) return hn::Mul(y, hn::Sub(dy, sum));
  const VF dx = hn::NegMulAdd(exp_below_0(y), sum, dy);
  return hn::IfThenZeroElse(hn::Eq(most, hn::Set(F32(), kLowest)), dx);
}

template <class T, bool kLogs, bool kStream>
void one_row(const T* dy, const T* y, T* dx, int64_t n) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  VF most = hn::Set(d, kLowest);
  double total = 0;
  int64_t i = 0;
  while (i + N <= n) {
    const int64_t end = std::min(n, i + kBlock);
    VF a = hn::Zero(d), b = a, c = a, e = a;
    const auto take = [&](int64_t at, VF& to) HWY_ATTR {
      const VF there = load(y + at);
      if (kLogs) most = hn::Max(most, there);
      to = hn::Add(to, summand<kLogs>(load(dy + at), there));
    };
    for (; i + 4 * N <= end; i += 4 * N) {
      take(i, a);
      take(i + N, b);
      take(i + 2 * N, c);
      take(i + 3 * N, e);
    }
    for (; i + N <= end; i += N) take(i, a);
    total += hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  }
  const auto rest = static_cast<size_t>(n - i);
  float top = hn::GetLane(hn::MaxOfLanes(d, most));
  for (int64_t k = i; k < n; k++) {
    const float there = to_f32(y[k]);
    top = std::max(top, there);
    total += kLogs ? to_f32(dy[k]) : to_f32(dy[k]) * there;
  }
  const VF sum = hn::Set(d, static_cast<float>(total));
  most = hn::Set(d, top);
  for (int64_t j = 0; j < i; j += N) {
    const VF v = gradient<kLogs>(load(dy + j), load(y + j), sum, most);
    if constexpr (kStream)
      stream(v, dx + j);
    else
      store(v, dx + j);
  }
  if (rest > 0) store_n(gradient<kLogs>(load_n(dy + i, rest), load_n(y + i, rest), sum, most), dx + i, rest);
}

// `columns` <= kTile lines side by side, n deep, `stride` apart.
template <class T, bool kLogs>
void some_columns(const T* dy, const T* y, T* dx, int64_t n, int64_t stride, int64_t columns) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  alignas(64) float most[kTile], low[kTile], sum[kTile];
  const auto each = [&](int64_t r, auto&& fn) HWY_ATTR {  // fn(column, lanes, dy there, y there)
    const T *g = dy + r * stride, *p = y + r * stride;
    int64_t c = 0;
    for (; c + N <= columns; c += N) fn(c, N, load(g + c), load(p + c));
    const auto rest = static_cast<size_t>(columns - c);
    if (rest > 0) fn(c, columns - c, load_n(g + c, rest), load_n(p + c, rest));
  };
  std::fill_n(most, kTile, kLowest);
  std::fill_n(sum, kTile, 0.0f);
  for (int64_t r = 0; r < n;) {
    const int64_t end = std::min(n, r + kFlushRows);
    std::fill_n(low, kTile, 0.0f);
    for (; r < end; r++)
      each(r, [&](int64_t c, int64_t, VF g, VF p) HWY_ATTR {
        hn::Store(hn::Add(hn::Load(d, low + c), summand<kLogs>(g, p)), d, low + c);
        if (kLogs) hn::Store(hn::Max(hn::Load(d, most + c), p), d, most + c);
      });
    for (int64_t c = 0; c < columns; c++) sum[c] += low[c];
  }
  for (int64_t r = 0; r < n; r++)
    each(r, [&](int64_t c, int64_t lanes, VF g, VF p) HWY_ATTR {
      const VF v = gradient<kLogs>(g, p, hn::Load(d, sum + c), hn::Load(d, most + c));
      if (lanes == N)
        store(v, dx + r * stride + c);
      else
        store_n(v, dx + r * stride + c, static_cast<size_t>(lanes));
    });
}

template <class T, bool kLogs>
struct Gradient {
  static void rows(const void* dy, const void* y, void* dx, int64_t rows, int64_t n, bool past_caches) {
    for (int64_t r = 0; r < rows; r++) {
      const T *g = static_cast<const T*>(dy) + r * n, *p = static_cast<const T*>(y) + r * n;
      T* to = static_cast<T*>(dx) + r * n;
      past_caches ? one_row<T, kLogs, true>(g, p, to, n) : one_row<T, kLogs, false>(g, p, to, n);
    }
    if (past_caches) hwy::FlushStream();
  }
  static void columns(const void* dy, const void* y, void* dx, int64_t n, int64_t stride, int64_t columns) {
    some_columns<T, kLogs>(static_cast<const T*>(dy), static_cast<const T*>(y), static_cast<T*>(dx), n,
                           stride, columns);
  }
  static SoftmaxBackwardLoops loops() { return {rows, columns}; }
};

SoftmaxBackwardLoops Choose(bool logs, DType dtype) {
  return with_float(dtype, [&](auto t) {
    using T = decltype(t);
    return logs ? Gradient<T, true>::loops() : Gradient<T, false>::loops();
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(Choose);

constexpr int64_t kGrain = 1 << 14;       // elements that are worth a thread
constexpr int64_t kPastCaches = 4 << 20;  // bytes of output beyond which it is not kept in the caches
constexpr int64_t kColumnBytes =
    1 << 17;  // of each input of a column tile, so that its second reading is from L2

Kernel make_softmax_backward(Attrs& attrs) {
  const bool logs = attrs.b();
  const DType dtype = attrs.dtype();
  const int64_t outer = attrs.i(), n = attrs.i(), inner = attrs.i();
  const SoftmaxBackwardLoops loops = HWY_DYNAMIC_DISPATCH(Choose)(logs, dtype);
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  if (outer * n * inner == 0) return [](const Operands&) {};
  if (inner == 1)
    return [=](const Operands& args) {
      const bool past_caches = n * bytes % 64 == 0 && outer * n * bytes >= kPastCaches;
      parallel_for(outer, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * n * bytes;
        loops.rows(static_cast<const char*>(args.in[0]) + at, static_cast<const char*>(args.in[1]) + at,
                   static_cast<char*>(args.out[0]) + at, end - begin, n, past_caches);
      });
    };
  const int64_t width = std::clamp<int64_t>(kColumnBytes / 4 / n / 64 * 64, 64, 512);
  const int64_t tiles = (inner + width - 1) / width;
  return [=](const Operands& args) {
    parallel_for(outer * tiles, std::max<int64_t>(1, kGrain / (n * std::min(width, inner))),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t t = begin; t < end; t++) {
                     const int64_t first = t % tiles * width, at = (t / tiles * n * inner + first) * bytes;
                     loops.columns(
                         static_cast<const char*>(args.in[0]) + at, static_cast<const char*>(args.in[1]) + at,
                         static_cast<char*>(args.out[0]) + at, n, inner, std::min(width, inner - first));
                   }
                 });
  };
}

ATTN_CPU_KERNEL(softmax_backward, make_softmax_backward);

}  // namespace
}  // namespace attn::cpu
#endif
