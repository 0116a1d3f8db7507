// norm {centred, x, y, residual, weight, bias, rows, n, eps}: y = (x - mean) rstd weight + bias of each row;
// rms_norm where it is not centred. dtypes in the order of the operands, -1 where there is none; with a
// residual, sum = x + residual takes the place of x. in: x, residual?, weight?, bias?; out: y, sum?, mean?,
// rstd.
//
// A row is read from memory once: it comes into L1 as fp32, where mean and variance are two passes over it.
#include <algorithm>
#include <cmath>

#include "convert.h"
#include "element.h"
#include "norm.h"
#include "scratch.h"
#include "team.h"

#ifndef ATTN_CPU_NORM
#define ATTN_CPU_NORM
namespace attn::cpu {
struct Norm {
  const void *x, *residual;
  const float *weight, *bias;
  void *y, *sum;
  float *mean, *rstd;
  int64_t n;
  float eps;
  bool centred;
};
struct NormLoops {
  // What is normalised of a row, as fp32: where it is, or in the buffer.
  const float* (*row)(const Norm&, int64_t row, float* buffer);
  // Rows [begin, end); `buffers` are kTogether rows of scratch.
  void (*rows)(const Norm&, const NormLoops&, int64_t begin, int64_t end, float* buffers);
};
inline constexpr int64_t kTogether = 4;  // short rows side by side, so that one waits for no other's sums
inline constexpr int64_t kShort = 1024;  // elements, such that they stay in L1 meanwhile
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/norm.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "norm_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <class T>
const float* plain_row(const Norm& p, int64_t row, float* buffer) {
  return widened<T>(p.x, row, p.n, buffer);
}

// sum = x + residual, rounded to the residual's dtype and kept in `buffer` as it was rounded.
template <class T, class R, bool kStream>
const float* sum_row(const Norm& p, int64_t row, float* buffer) {
  const T* x = static_cast<const T*>(p.x) + row * p.n;
  const R* residual = static_cast<const R*>(p.residual) + row * p.n;
  R* sum = static_cast<R*>(p.sum) + row * p.n;
  each_vector(p.n, [&](int64_t i, bool whole) HWY_ATTR {
    const auto rest = static_cast<size_t>(p.n - i);
    const VF v = rounded(whole ? hn::Add(load(x + i), load(residual + i))
                               : hn::Add(load_n(x + i, rest), load_n(residual + i, rest)),
                         R{});
    store(v, buffer + i);
    put<kStream>(v, sum + i, whole, p.n - i);
  });
  return buffer;
}

// R rows from `row` on, phase by phase.
template <class T, bool kStream, int R>
void some_rows(const Norm& p, const NormLoops& loops, int64_t row, float* buffers) {
  const F32 d;
  const int64_t n = p.n, width = padded(n);
  const double inverse_n = 1.0 / static_cast<double>(std::max<int64_t>(n, 1));
  const float* x[R];
  float mean[R] = {}, rstd[R];
  for (int k = 0; k < R; k++) x[k] = loops.row(p, row + k, buffers + k * width);
  if (p.centred)
    for (int k = 0; k < R; k++) {
      mean[k] =
          static_cast<float>(sum_vectors(n, [&](int64_t i) HWY_ATTR { return load(x[k] + i); }) * inverse_n);
      p.mean[row + k] = mean[k];
      if (n % lanes() != 0)  // copied: what lies beyond the row must not count as variance
        for (int64_t i = n; i % lanes() != 0; i++) buffers[k * width + i] = mean[k];
    }
  for (int k = 0; k < R; k++) {
    const VF m = hn::Set(d, mean[k]);
    const double squares = sum_vectors(n, [&](int64_t i) HWY_ATTR {
      const VF u = hn::Sub(load(x[k] + i), m);
      return hn::Mul(u, u);
    });
    rstd[k] = 1 / std::sqrt(static_cast<float>(squares * inverse_n) + p.eps);
    p.rstd[row + k] = rstd[k];
  }
  for (int k = 0; k < R; k++) {
    const VF m = hn::Set(d, mean[k]), r = hn::Set(d, rstd[k]);
    T* y = static_cast<T*>(p.y) + (row + k) * n;
    const auto scaled = [&](int64_t i) HWY_ATTR { return hn::Mul(hn::Sub(load(x[k] + i), m), r); };
    if (p.bias)
      each_vector(n, [&](int64_t i, bool whole) HWY_ATTR {
        put<kStream>(hn::MulAdd(scaled(i), load(p.weight + i), load(p.bias + i)), y + i, whole, n - i);
      });
    else if (p.weight)
      each_vector(n, [&](int64_t i, bool whole) HWY_ATTR {
        put<kStream>(hn::Mul(scaled(i), load(p.weight + i)), y + i, whole, n - i);
      });
    else
      each_vector(n, [&](int64_t i, bool whole) HWY_ATTR { put<kStream>(scaled(i), y + i, whole, n - i); });
  }
}

template <class T, bool kStream>
void norm_rows(const Norm& p, const NormLoops& loops, int64_t begin, int64_t end, float* buffers) {
  int64_t row = begin;
  if (p.n <= kShort)
    for (; row + kTogether <= end; row += kTogether) some_rows<T, kStream, kTogether>(p, loops, row, buffers);
  for (; row < end; row++) some_rows<T, kStream, 1>(p, loops, row, buffers);
  if (kStream) hwy::FlushStream();
}

// residual: its dtype code, -1 where there is none.
NormLoops Choose(DType in, int64_t residual, DType out, bool past_caches) {
  NormLoops loops{};
  with_float(in, [&](auto t) {
    using T = decltype(t);
    if (residual < 0)
      loops.row = plain_row<T>;
    else
      with_float(static_cast<DType>(residual), [&](auto r) {
        using R = decltype(r);
        loops.row = past_caches ? sum_row<T, R, true> : sum_row<T, R, false>;
      });
  });
  with_float(out, [&](auto t) {
    using T = decltype(t);
    loops.rows = past_caches ? norm_rows<T, true> : norm_rows<T, false>;
  });
  return loops;
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {

float* norm_scratch(int64_t floats) {
  struct alignas(64) Line {
    float of[16];
  };
  return scratch<Line, Line>(static_cast<size_t>(padded(floats) / 16))->of;
}

const float* norm_parameter(const void* given, DType dtype, int64_t n, float fallback, float* buffer) {
  if (given && dtype == DType::f32 && n % kNormPad == 0) return static_cast<const float*>(given);
  std::fill(buffer + n, buffer + padded(n), 0.0f);
  if (!given)
    std::fill(buffer, buffer + n, fallback);
  else if (dtype == DType::f32)
    std::copy_n(static_cast<const float*>(given), n, buffer);
  else
    halves_to_float(dtype, given, buffer, n);
  return buffer;
}

int64_t norm_parts(int64_t rows, int64_t n) {
  constexpr int64_t kGrain = 1 << 13;  // elements that are worth a thread
  return std::clamp<int64_t>(rows * n / kGrain, 1,
                             std::min<int64_t>(team_size(), std::max<int64_t>(rows, 1)));
}

namespace {

HWY_EXPORT(Choose);

Kernel make_norm(Attrs& attrs) {
  const bool centred = attrs.b();
  const DType in = attrs.dtype(), out = attrs.dtype();
  const int64_t residual = attrs.i(), weight = attrs.i(), bias = attrs.i(), rows = attrs.i(), n = attrs.i();
  const auto eps = static_cast<float>(attrs.f());
  const int64_t elements = rows * n;
  const auto bytes_of = [](int64_t dtype) {
    return dtype < 0 ? 0 : static_cast<int64_t>(size_of(static_cast<DType>(dtype)));
  };
  const int64_t narrowest = std::min<int64_t>(size_of(out), residual < 0 ? 4 : bytes_of(residual));
  const bool past = n * narrowest % 64 == 0 && elements * narrowest >= kNormPastCaches;
  const NormLoops loops = HWY_DYNAMIC_DISPATCH(Choose)(in, residual, out, past);
  return [=](const Operands& args) {
    const int64_t width = padded(n), parts = norm_parts(rows, n);
    float* const parameters = norm_scratch((kTogether * parts + 2) * width);
    float* const buffers = parameters + 2 * width;
    size_t next = 1, made = 1;
    Norm p{};
    p.x = args.in[0];
    p.y = args.out[0];
    if (residual >= 0) p.residual = args.in[next++], p.sum = args.out[made++];
    if (weight >= 0) p.weight = norm_parameter(args.in[next++], static_cast<DType>(weight), n, 1, parameters);
    if (bias >= 0)
      p.bias = norm_parameter(args.in[next++], static_cast<DType>(bias), n, 0, parameters + width);
    if (centred) p.mean = static_cast<float*>(args.out[made++]);
    p.rstd = static_cast<float*>(args.out[made++]);
    p.n = n;
    p.eps = eps;
    p.centred = centred;
    parallel_for(parts, 1, [&](int64_t from, int64_t to) {
      for (int64_t part = from; part < to; part++)
        loops.rows(p, loops, rows * part / parts, rows * (part + 1) / parts,
                   buffers + kTogether * part * width);
    });
  };
}

ATTN_CPU_KERNEL(norm, make_norm);

}  // namespace
}  // namespace attn::cpu
#endif
