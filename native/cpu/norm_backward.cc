// norm_backward {centred, dy, x, weight, bias, dres, wants dx, wants dw, rows, n}: with u = (x - mean) rstd
// and g = dy weight, dx = rstd (g - mean(g) - u mean(g u)) + dres, dw = sum of dy u over the rows, db = sum
// of dy; without mean(g) and db where the norm is not centred. dtypes, -1 where there is none; that of bias
// is db's. in: dy, x, mean?, rstd, weight?, dres?; out: dx, dw, db? (of size 0 where they are not wanted).
//
// One sweep: dy and x come into L1 as fp32, kTogether rows at a time so that the columns' sums are loaded and
// stored once for all of them. Each part of the rows has its own sums, in fp32 for kFlushRows rows and then
// in double, which are joined in the order of the parts.
#include <algorithm>

#include "element.h"
#include "norm.h"
#include "team.h"

#ifndef ATTN_CPU_NORM_BACKWARD
#define ATTN_CPU_NORM_BACKWARD
namespace attn::cpu {

inline constexpr int64_t kTogether = 4;

// Workspace of one part of the rows.
struct NormSums {
  float *low_w, *low_b;
  double *w, *b;
  float* rows;  // 2 kTogether of them

  static int64_t floats(int64_t width) { return (6 + 2 * kTogether) * width; }
  NormSums(float* at, int64_t width)
      : low_w(at),
        low_b(at + width),
        w(reinterpret_cast<double*>(at + 2 * width)),
        b(w + width),
        rows(at + 6 * width) {}
};

struct NormBackward {
  const void *dy, *x, *dres;
  const float *mean, *rstd, *weight;
  void* dx;
  DType dy_dtype;
  int64_t n;
  bool dw;
};
struct NormBackwardLoops {
  void (*rows)(const NormBackward&, int64_t begin, int64_t end, NormSums&);
};
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/norm_backward.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "norm_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kFlushRows = 256;

// R rows from `row` on. T is the dtype of x and dx.
template <class T, bool kStream, bool kCentred, int R>
void some_rows(const NormBackward& p, int64_t row, NormSums& sums) {
  const F32 d;
  const int64_t n = p.n, width = padded(n);
  const float *dy[R], *x[R];
  float mean[R] = {}, rstd[R], g_mean[R] = {}, u_mean[R] = {};
  const double inverse_n = 1.0 / static_cast<double>(std::max<int64_t>(n, 1));
  for (int k = 0; k < R; k++) {
    dy[k] = widened(p.dy_dtype, p.dy, row + k, n, sums.rows + 2 * k * width);
    x[k] = widened<T>(p.x, row + k, n, sums.rows + (2 * k + 1) * width);
    if (kCentred) mean[k] = p.mean[row + k];
    rstd[k] = p.rstd[row + k];
  }
  const auto normal = [&](int k, int64_t i) HWY_ATTR {
    return hn::Mul(kCentred ? hn::Sub(load(x[k] + i), hn::Set(d, mean[k])) : load(x[k] + i),
                   hn::Set(d, rstd[k]));
  };
  if (p.dx)
    for (int k = 0; k < R; k++) {
      VF g0 = hn::Zero(d), g1 = g0, u0 = g0, u1 = g0;
      double g_sum = 0, u_sum = 0;
      const int64_t N = lanes();
      for (int64_t i = 0; i < n;) {
        const int64_t end = std::min(n, i + 4096);
        const auto add = [&](int64_t at, VF& g_total, VF& u_total) HWY_ATTR {
          const VF g = hn::Mul(load(dy[k] + at), load(p.weight + at));
          if (kCentred) g_total = hn::Add(g_total, g);
          u_total = hn::MulAdd(g, normal(k, at), u_total);
        };
        for (; i + 2 * N <= end; i += 2 * N) {
          add(i, g0, u0);
          add(i + N, g1, u1);
        }
        for (; i < end; i += N) add(i, g0, u0);
        if (kCentred) g_sum += hn::GetLane(hn::SumOfLanes(d, hn::Add(g0, g1)));
        u_sum += hn::GetLane(hn::SumOfLanes(d, hn::Add(u0, u1)));
        g0 = g1 = u0 = u1 = hn::Zero(d);
      }
      g_mean[k] = static_cast<float>(g_sum * inverse_n);
      u_mean[k] = static_cast<float>(u_sum * inverse_n);
    }
  T* const dx = static_cast<T*>(p.dx) + row * n;
  const T* const dres = static_cast<const T*>(p.dres) + row * n;
  each_vector(n, [&](int64_t i, bool whole) HWY_ATTR {
    const VF weight = load(p.weight + i);
    VF w = hn::Zero(d), b = w;
    if (p.dw) {
      w = hn::Load(d, sums.low_w + i);
      if (kCentred) b = hn::Load(d, sums.low_b + i);
    }
    for (int k = 0; k < R; k++) {
      const VF given = load(dy[k] + i), u = normal(k, i);
      if (p.dw) {
        w = hn::MulAdd(given, u, w);
        if (kCentred) b = hn::Add(b, given);
      }
      if (p.dx) {
        VF v = hn::NegMulAdd(u, hn::Set(d, u_mean[k]), hn::Mul(given, weight));
        if (kCentred) v = hn::Sub(v, hn::Set(d, g_mean[k]));
        if (p.dres) {
          const T* known = dres + k * n + i;
          v = hn::MulAdd(v, hn::Set(d, rstd[k]),
                         whole ? load(known) : load_n(known, static_cast<size_t>(n - i)));
        } else {
          v = hn::Mul(v, hn::Set(d, rstd[k]));
        }
        put<kStream>(v, dx + k * n + i, whole, n - i);
      }
    }
    if (p.dw) {
      hn::Store(w, d, sums.low_w + i);
      if (kCentred) hn::Store(b, d, sums.low_b + i);
    }
  });
}

template <class T, bool kStream, bool kCentred>
void backward_rows(const NormBackward& p, int64_t begin, int64_t end, NormSums& sums) {
  const int64_t n = p.n, width = padded(n);
  if (p.dw) std::fill(sums.w, sums.w + 2 * width, 0.0);
  for (int64_t row = begin; row < end;) {
    const int64_t block = std::min(end, row + kFlushRows);
    if (p.dw) std::fill(sums.low_w, sums.low_w + 2 * width, 0.0f);
    for (; row + kTogether <= block; row += kTogether)
      some_rows<T, kStream, kCentred, kTogether>(p, row, sums);
    for (; row < block; row++) some_rows<T, kStream, kCentred, 1>(p, row, sums);
    if (p.dw)
      for (int64_t c = 0; c < n; c++) {
        sums.w[c] += sums.low_w[c];
        if (kCentred) sums.b[c] += sums.low_b[c];
      }
  }
  if (kStream) hwy::FlushStream();
}

NormBackwardLoops Choose(DType x, bool past_caches, bool centred) {
  return with_float(x, [&](auto t) {
    using T = decltype(t);
    return NormBackwardLoops{past_caches
                                 ? centred ? backward_rows<T, true, true> : backward_rows<T, true, false>
                             : centred ? backward_rows<T, false, true>
                                       : backward_rows<T, false, false>};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(Choose);

// The columns' sums of all parts, in their order.
void join(DType dtype, void* out, int64_t n, int64_t parts, auto&& part) {
  with_float(dtype, [&](auto t) {
    using T = decltype(t);
    parallel_for(n, (1 << 14) / parts + 1, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; c++) {
        double total = 0;
        for (int64_t k = 0; k < parts; k++) total += part(k)[c];
        static_cast<T*>(out)[c] = from_f32<T>(static_cast<float>(total));
      }
    });
  });
}

Kernel make_norm_backward(Attrs& attrs) {
  const bool centred = attrs.b();
  const DType dy = attrs.dtype(), x = attrs.dtype();
  const int64_t weight = attrs.i(), bias = attrs.i();
  const bool dres = attrs.b(), wants_dx = attrs.b(), wants_dw = attrs.b();
  const int64_t rows = attrs.i(), n = attrs.i();
  const auto bytes = static_cast<int64_t>(size_of(x));
  const bool past = n * bytes % 64 == 0 && rows * n * bytes >= kNormPastCaches;
  const NormBackwardLoops loops = HWY_DYNAMIC_DISPATCH(Choose)(x, past, centred);
  const bool columns = wants_dw || bias >= 0;
  return [=](const Operands& args) {
    const int64_t width = padded(n), parts = norm_parts(rows, n), each = NormSums::floats(width);
    float* const scratch = norm_scratch(parts * each + width);
    size_t next = 2;
    NormBackward p{};
    p.dy = args.in[0];
    p.x = args.in[1];
    if (centred) p.mean = static_cast<const float*>(args.in[next++]);
    p.rstd = static_cast<const float*>(args.in[next++]);
    const void* given = weight < 0 ? nullptr : args.in[next++];
    p.weight = norm_parameter(given, weight < 0 ? DType::f32 : static_cast<DType>(weight), n, 1,
                              scratch + parts * each);
    if (dres) p.dres = args.in[next];
    if (wants_dx) p.dx = args.out[0];
    p.dy_dtype = dy;
    p.n = n;
    p.dw = columns;
    parallel_for(parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t part = from; part < to; part++) {
        NormSums sums(scratch + part * each, width);
        loops.rows(p, rows * part / parts, rows * (part + 1) / parts, sums);
      }
    });
    const auto sums_of = [&](int64_t part) { return NormSums(scratch + part * each, width); };
    if (wants_dw)
      join(static_cast<DType>(weight), args.out[1], n, parts, [&](int64_t k) { return sums_of(k).w; });
    if (bias >= 0)
      join(static_cast<DType>(bias), args.out[2], n, parts, [&](int64_t k) { return sums_of(k).b; });
  };
}

ATTN_CPU_KERNEL(norm_backward, make_norm_backward);

}  // namespace
}  // namespace attn::cpu
#endif
