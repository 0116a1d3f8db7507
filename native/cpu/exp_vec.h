// e^x of vectors, for kernels that compile once for each instruction set (included after foreach_target.h, as
// vec.h is).
#if defined(ATTN_CPU_EXP_VEC) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_EXP_VEC
#undef ATTN_CPU_EXP_VEC
#else
#define ATTN_CPU_EXP_VEC
#endif

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

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
