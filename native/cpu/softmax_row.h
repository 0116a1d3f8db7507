// What kernels that exponentiate rows share: e^(x - max), and the maximum.
#if defined(ATTN_CPU_SOFTMAX_ROW) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_SOFTMAX_ROW
#undef ATTN_CPU_SOFTMAX_ROW
#else
#define ATTN_CPU_SOFTMAX_ROW
#endif

#include <algorithm>
#include <limits>

#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// e^x for x <= 0: 2^k e^r, |r| <= ln2 / 2, a Taylor-like minimax polynomial for e^r (Cephes expf). Results
// below the smallest normal number are 0; NaN stays NaN.
HWY_INLINE VF exp_below_0(VF x) {
  const F32 d;
  const I32 di;
  const VF k = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  const VF r = hn::NegMulAdd(k, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(k, hn::Set(d, 0.693359375f), x));
  VF p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const VI power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, k), hn::Set(di, 127)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0f)), hn::Mul(p, hn::BitCast(d, power)));
}

// What to subtract: a row that is -inf throughout has no maximum.
HWY_INLINE float finite_max(float max) { return max == -std::numeric_limits<float>::infinity() ? 0.0f : max; }

template <class T>
HWY_INLINE float row_max(const T* x, int64_t n) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  if (n < N) {
    float m = to_f32(x[0]);
    for (int64_t i = 1; i < n; i++) m = std::max(m, to_f32(x[i]));
    return m;
  }
  VF a = load(x), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    a = hn::Max(a, load(x + i));
    b = hn::Max(b, load(x + i + N));
    c = hn::Max(c, load(x + i + 2 * N));
    e = hn::Max(e, load(x + i + 3 * N));
  }
  for (; i + N <= n; i += N) a = hn::Max(a, load(x + i));
  a = hn::Max(a, load(x + n - N));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(a, b), hn::Max(c, e))));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
