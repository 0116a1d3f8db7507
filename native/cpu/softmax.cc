// softmax {dtype, outer, n, inner}: exp(x - max) / sum over the middle axis of [outer, n, inner].
// A row whose elements are all -inf has no maximum to subtract: it gives zeros.
#include <algorithm>
#include <limits>

#include <hwy/cache_control.h>

#include "kernel.h"
#include "team.h"

#ifndef ATTN_CPU_SOFTMAX
#define ATTN_CPU_SOFTMAX
namespace attn::cpu {
struct SoftmaxLoops {
  void (*rows)(const void* x, void* y, int64_t rows, int64_t n, bool past_caches);
  void (*columns)(const void* x, void* y, int64_t n, int64_t stride, int64_t columns);
};
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/softmax.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "softmax_row.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kKept = 8192;   // elements of a row whose exponentials are kept instead of computed twice
constexpr int64_t kBlock = 4096;  // elements between carries into the double
constexpr int64_t kTile = 512;    // columns side by side
constexpr int64_t kFlushRows = 256;  // rows of fp32 partial sums of a column

HWY_INLINE float inverse(double sum) { return sum == 0 ? 0.0f : static_cast<float>(1 / sum); }

template <class T, bool kStream>
void one_row(const T* x, T* y, int64_t n) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  alignas(64) float kept[kKept + HWY_MAX_BYTES / 4];
  const bool keep = n <= kKept;
  const VF max = hn::Set(d, finite_max(row_max(x, n)));
  double total = 0;
  int64_t i = 0;
  while (i + N <= n) {
    const int64_t end = std::min(n, i + kBlock);
    VF a = hn::Zero(d), b = a;
    for (; i + 2 * N <= end; i += 2 * N) {
      const VF u = exp_below_0(hn::Sub(load(x + i), max)), v = exp_below_0(hn::Sub(load(x + i + N), max));
      if (keep) hn::Store(u, d, kept + i), hn::Store(v, d, kept + i + N);
      a = hn::Add(a, u);
      b = hn::Add(b, v);
    }
    for (; i + N <= end; i += N) {
      const VF u = exp_below_0(hn::Sub(load(x + i), max));
      if (keep) hn::Store(u, d, kept + i);
      a = hn::Add(a, u);
    }
    total += hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
  }
  const int64_t rest = n - i;
  VF tail = hn::Zero(d);
  if (rest > 0) {
    HWY_ALIGN float lanes[HWY_MAX_BYTES / 4];
    tail = exp_below_0(hn::Sub(load_n(x + i, static_cast<size_t>(rest)), max));
    hn::Store(tail, d, lanes);
    for (int64_t k = 0; k < rest; k++) total += lanes[k];
  }
  const VF scale = hn::Set(d, inverse(total));
  for (int64_t j = 0; j < i; j += N) {
    const VF e = keep ? hn::Load(d, kept + j) : exp_below_0(hn::Sub(load(x + j), max));
    if constexpr (kStream)
      stream(hn::Mul(e, scale), y + j);
    else
      store(hn::Mul(e, scale), y + j);
  }
  if (rest > 0) store_n(hn::Mul(tail, scale), y + i, static_cast<size_t>(rest));
}

// `columns` <= kTile lines side by side, n deep, `stride` apart.
template <class T>
void some_columns(const T* x, T* y, int64_t n, int64_t stride, int64_t columns) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  alignas(64) float max[kTile], low[kTile], sum[kTile];
  const auto each = [&](int64_t r, auto&& fn) {  // fn(column, lanes, x there)
    const T* p = x + r * stride;
    int64_t c = 0;
    for (; c + N <= columns; c += N) fn(c, N, load(p + c));
    if (c < columns) fn(c, columns - c, load_n(p + c, static_cast<size_t>(columns - c)));
  };
  for (int64_t c = 0; c < kTile; c++) max[c] = -std::numeric_limits<float>::infinity(), sum[c] = 0;
  for (int64_t r = 0; r < n; r++)
    each(r, [&](int64_t c, int64_t, VF v) { hn::Store(hn::Max(hn::Load(d, max + c), v), d, max + c); });
  for (int64_t c = 0; c < columns; c++) max[c] = finite_max(max[c]);
  for (int64_t r = 0; r < n;) {
    const int64_t end = std::min(n, r + kFlushRows);
    for (int64_t c = 0; c < columns; c++) low[c] = 0;
    for (; r < end; r++)
      each(r, [&](int64_t c, int64_t, VF v) {
        const VF e = exp_below_0(hn::Sub(v, hn::Load(d, max + c)));
        hn::Store(hn::Add(hn::Load(d, low + c), e), d, low + c);
      });
    for (int64_t c = 0; c < columns; c++) sum[c] += low[c];
  }
  for (int64_t c = 0; c < columns; c++) sum[c] = inverse(sum[c]);
  for (int64_t r = 0; r < n; r++)
    each(r, [&](int64_t c, int64_t lanes, VF v) {
      const VF e = hn::Mul(exp_below_0(hn::Sub(v, hn::Load(d, max + c))), hn::Load(d, sum + c));
      if (lanes == N)
        store(e, y + r * stride + c);
      else
        store_n(e, y + r * stride + c, static_cast<size_t>(lanes));
    });
}

template <class T>
struct Softmax {
  static void rows(const void* x, void* y, int64_t rows, int64_t n, bool past_caches) {
    for (int64_t r = 0; r < rows; r++) {
      const T* from = static_cast<const T*>(x) + r * n;
      T* to = static_cast<T*>(y) + r * n;
      past_caches ? one_row<T, true>(from, to, n) : one_row<T, false>(from, to, n);
    }
    if (past_caches) hwy::FlushStream();
  }
  static void columns(const void* x, void* y, int64_t n, int64_t stride, int64_t columns) {
    some_columns(static_cast<const T*>(x), static_cast<T*>(y), n, stride, columns);
  }
};

SoftmaxLoops Choose(DType dtype) {
  return with_float(dtype, [](auto t) {
    using Of = Softmax<decltype(t)>;
    return SoftmaxLoops{Of::rows, Of::columns};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(Choose);

constexpr int64_t kGrain = 1 << 13;        // elements that are worth a thread
constexpr int64_t kPastCaches = 4 << 20;   // bytes of output beyond which it is not kept in the caches
constexpr int64_t kColumnBytes = 1 << 18;  // input of a column tile, so that its second reading is from L2

Kernel make_softmax(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t outer = attrs.i(), n = attrs.i(), inner = attrs.i();
  const SoftmaxLoops loops = HWY_DYNAMIC_DISPATCH(Choose)(dtype);
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  if (outer * n * inner == 0) return [](const Operands&) {};
  if (inner == 1)
    return [=](const Operands& args) {
      const bool past_caches = n * bytes % 64 == 0 && outer * n * bytes >= kPastCaches;
      parallel_for(outer, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
        loops.rows(static_cast<const char*>(args.in[0]) + begin * n * bytes,
                   static_cast<char*>(args.out[0]) + begin * n * bytes, end - begin, n, past_caches);
      });
    };
  const int64_t width = std::clamp<int64_t>(kColumnBytes / 4 / n / 64 * 64, 64, 512);
  const int64_t tiles = (inner + width - 1) / width;
  return [=](const Operands& args) {
    parallel_for(outer * tiles, std::max<int64_t>(1, kGrain / (n * std::min(width, inner))),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t t = begin; t < end; t++) {
                     const int64_t first = t % tiles * width, at = (t / tiles * n * inner + first) * bytes;
                     loops.columns(static_cast<const char*>(args.in[0]) + at,
                                   static_cast<char*>(args.out[0]) + at, n, inner,
                                   std::min(width, inner - first));
                   }
                 });
  };
}

ATTN_CPU_KERNEL(softmax, make_softmax);

}  // namespace
}  // namespace attn::cpu
#endif
