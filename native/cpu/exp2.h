// 2^x on float32 vectors, for weights of softmax: the caller has folded log2 e into x.
#if defined(ATTN_CPU_EXP2) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_EXP2
#undef ATTN_CPU_EXP2
#else
#define ATTN_CPU_EXP2
#endif

#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// 2^x for x <= 127: 2^k 2^r, |r| <= 1/2, 2^r by the polynomial of least relative error (9.2e-8) that is 1 at
// 0. Adding 1.5 * 2^23 rounds to the integer k and leaves it in the low bits, from where it goes to the
// exponent. Below -126 the result is 0; NaN stays NaN.
HWY_INLINE VF exp2_below_127(VF x) {
  const F32 d;
  const I32 i;
  const VF shift = hn::Set(d, 12582912.0f);
  const VF shifted = hn::Add(x, shift);
  const VF r = hn::Sub(x, hn::Sub(shifted, shift));
  VF p = hn::Set(d, 1.3264728769e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 9.6715131831e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.5507337445e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022242077e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314697760e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const VI power = hn::ShiftLeft<23>(hn::BitCast(i, shifted));
  const VF y = hn::BitCast(d, hn::Add(hn::BitCast(i, p), power));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), y);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
