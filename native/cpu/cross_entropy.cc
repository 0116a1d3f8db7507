// cross_entropy {dtype, rows, n, ignored label, smoothing, reduction (0 mean, 1 sum, 2 none)}: of rows x and
// labels y, (1 - s) (lse(x) - x[y]) + s (lse(x) - mean(x)), lse(x) = log(sum(exp(x))). cross_entropy_backward
// {the same}: (exp(x - lse) - (1 - s) [v = y] - s / n) g. Rows are read once forward and once backward, in
// blocks that stay in the nearest cache.
#include <algorithm>
#include <cmath>
#include <limits>

#include <hwy/cache_control.h>

#include "index.h"
#include "kernel.h"
#include "map.h"
#include "scratch.h"
#include "team.h"

#ifndef ATTN_CPU_CROSS_ENTROPY
#define ATTN_CPU_CROSS_ENTROPY
namespace attn::cpu {
struct RowLoss {
  double loss;
  float lse;
};
struct CrossEntropyLoops {
  RowLoss (*forward)(const void* x, int64_t row, int64_t n, int32_t label, double smoothing);
  void (*backward)(const void* x, void* dx, int64_t row, int64_t n, int32_t label, float lse, float g,
                   double smoothing, bool past_caches);
  void (*zero)(void* dx, int64_t row, int64_t n);
};
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/cross_entropy.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "softmax_row.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kBlock = 4096;  // elements between changes of the maximum and carries into doubles

// sum of fn(x) over n elements, in float32 on four vectors and in double over the lanes beyond the last whole
// vector.
template <class T, class F>
HWY_INLINE double sum_of(const T* x, int64_t n, F&& fn) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  VF a = hn::Zero(d), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    a = hn::Add(a, fn(load(x + i)));
    b = hn::Add(b, fn(load(x + i + N)));
    c = hn::Add(c, fn(load(x + i + 2 * N)));
    e = hn::Add(e, fn(load(x + i + 3 * N)));
  }
  for (; i + N <= n; i += N) a = hn::Add(a, fn(load(x + i)));
  double sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  if (i < n) {
    HWY_ALIGN float lanes[HWY_MAX_BYTES / 4];
    hn::Store(fn(load_n(x + i, static_cast<size_t>(n - i))), d, lanes);
    for (int64_t k = 0; k < n - i; k++) sum += lanes[k];
  }
  return sum;
}

template <class T>
struct CrossEntropy {
  static RowLoss forward(const void* from, int64_t row, int64_t n, int32_t label, double smoothing) {
    const T* x = static_cast<const T*>(from) + row * n;
    float max = -std::numeric_limits<float>::infinity();
    double sum = 0, total = 0;
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t some = std::min(kBlock, n - i);
      const float most = row_max(x + i, some);
      if (most > max) {
        sum *= std::exp(static_cast<double>(max) - most);
        max = most;
      }
      const VF shift = hn::Set(F32(), finite_max(max));
      sum += sum_of(x + i, some, [shift](VF v) HWY_ATTR { return exp_below_0(hn::Sub(v, shift)); });
      if (smoothing != 0) total += sum_of(x + i, some, [](VF v) HWY_ATTR { return v; });
    }
    const double log = std::log(sum), at = to_f32(x[label]);
    double loss = log + (max - at);
    if (smoothing != 0)
      loss = (1 - smoothing) * loss + smoothing * (log + (max - total / static_cast<double>(n)));
    return {loss, static_cast<float>(max + log)};
  }

  static void backward(const void* from, void* to, int64_t row, int64_t n, int32_t label, float lse, float g,
                       double smoothing, bool past_caches) {
    const T* x = static_cast<const T*>(from) + row * n;
    T* dx = static_cast<T*>(to) + row * n;
    const auto even = static_cast<float>(smoothing / static_cast<double>(n));
    past_caches ? all<true>(x, dx, n, lse, g, even) : all<false>(x, dx, n, lse, g, even);
    const double p = std::exp(static_cast<double>(to_f32(x[label])) - lse);
    if (past_caches) hwy::FlushStream();  // before the label's element is written over
    dx[label] = from_f32<T>(static_cast<float>((p - even - (1 - smoothing)) * g));
  }

  static void zero(void* to, int64_t row, int64_t n) {
    std::memset(static_cast<T*>(to) + row * n, 0, static_cast<size_t>(n) * sizeof(T));
  }

 private:
  template <bool kStream>
  static void all(const T* x, T* dx, int64_t n, float lse, float g, float even) {
    const F32 d;
    const int64_t N = static_cast<int64_t>(hn::Lanes(d));
    const VF shift = hn::Set(d, lse), scale = hn::Set(d, g), off = hn::Set(d, even);
    const auto value = [=](VF v)
                           HWY_ATTR { return hn::Mul(hn::Sub(exp_below_0(hn::Sub(v, shift)), off), scale); };
    int64_t i = 0;
    for (; i + N <= n; i += N) {
      if constexpr (kStream)
        stream(value(load(x + i)), dx + i);
      else
        store(value(load(x + i)), dx + i);
    }
    if (i < n) {
      const auto rest = static_cast<size_t>(n - i);
      store_n(value(load_n(x + i, rest)), dx + i, rest);
    }
  }
};

CrossEntropyLoops choose_cross_entropy(DType t) {
  return with_float(t, [](auto element) {
    using Of = CrossEntropy<decltype(element)>;
    return CrossEntropyLoops{Of::forward, Of::backward, Of::zero};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(choose_cross_entropy);

constexpr int64_t kGrain = 1 << 13;  // elements that are worth a thread

enum Reduction { kMean, kSum, kNone };

struct Problem {
  explicit Problem(Attrs& attrs)
      : dtype(attrs.dtype()),
        rows(attrs.i()),
        n(attrs.i()),
        ignored(attrs.i()),
        smoothing(attrs.f()),
        reduction(static_cast<Reduction>(attrs.i())) {}
  DType dtype;
  int64_t rows, n, ignored;
  double smoothing;
  Reduction reduction;
};

struct Losses;

Kernel make_cross_entropy(Attrs& attrs) {
  const Problem p(attrs);
  const auto loop = HWY_DYNAMIC_DISPATCH(choose_cross_entropy)(p.dtype).forward;
  return [=](const Operands& args) {
    const int32_t* labels = static_cast<const int32_t*>(args.in[1]);
    float* out = static_cast<float*>(args.out[0]);
    float* lse = static_cast<float*>(args.out[1]);
    float* losses = p.reduction == kNone ? out : scratch<Losses, float>(static_cast<size_t>(p.rows));
    BadIndex bad;
    parallel_for(p.rows, std::max<int64_t>(1, kGrain / p.n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        RowLoss row{0, 0};
        if (labels[r] == p.ignored) {
        } else if (outside(labels[r], p.n)) {
          bad.at(r);
        } else {
          row = loop(args.in[0], r, p.n, labels[r], p.smoothing);
        }
        losses[r] = static_cast<float>(row.loss);
        lse[r] = row.lse;
      }
    });
    bad.raise(labels, p.n, "label", "a row");
    if (p.reduction == kNone) return;
    double sum = 0;
    int32_t count = 0;
    for (int64_t r = 0; r < p.rows; r++) sum += losses[r], count += labels[r] != p.ignored;
    out[0] = static_cast<float>(p.reduction == kMean ? sum / std::max(1, count) : sum);
    if (p.reduction == kMean) *static_cast<int32_t*>(args.out[2]) = count;
  };
}

Kernel make_cross_entropy_backward(Attrs& attrs) {
  const Problem p(attrs);
  const CrossEntropyLoops loops = HWY_DYNAMIC_DISPATCH(choose_cross_entropy)(p.dtype);
  const auto row_bytes = p.n * static_cast<int64_t>(size_of(p.dtype));
  return [=](const Operands& args) {
    const float* g = static_cast<const float*>(args.in[0]);
    const int32_t* labels = static_cast<const int32_t*>(args.in[2]);
    const float* lse = static_cast<const float*>(args.in[3]);
    const float share =
        p.reduction == kMean ? 1.0f / std::max(1, *static_cast<const int32_t*>(args.in[4])) : 1.0f;
    const bool stream = row_bytes % 64 == 0 && past_caches(2 * p.rows * row_bytes);
    parallel_for(p.rows, std::max<int64_t>(1, kGrain / p.n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        if (labels[r] == p.ignored || outside(labels[r], p.n))
          loops.zero(args.out[0], r, p.n);
        else
          loops.backward(args.in[1], args.out[0], r, p.n, labels[r], lse[r],
                         (p.reduction == kNone ? g[r] : g[0]) * share, p.smoothing, stream);
      }
    });
  };
}

ATTN_CPU_KERNEL(cross_entropy, make_cross_entropy);
ATTN_CPU_KERNEL(cross_entropy_backward, make_cross_entropy_backward);

}  // namespace
}  // namespace attn::cpu
#endif
