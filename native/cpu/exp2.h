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
// 0. Adding 1.5 * 2^23 + 127 rounds to the integer k and leaves 127 + k in the low bits: shifted, those of
// the float 2^k. Below -126 the result is 0. NaN stays NaN, whatever its low bits are, because 2^k is
// multiplied with: added to the exponent of a NaN such as NVIDIA's 0x7fffffff, it would make a number of it.
HWY_INLINE VF exp2_below_127(VF x) {
  const F32 d;
  const I32 i;
  const VF shift = hn::Set(d, 12582912.0f + 127);
  const VF shifted = hn::Add(x, shift);
  const VF r = hn::Sub(x, hn::Sub(shifted, shift));
  VF p = hn::Set(d, 1.3264728769e-3f);
  p = hn::MulAdd(p, r, hn::Set(d, 9.6715131831e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.5507337445e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022242077e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314697760e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const VF power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(i, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), hn::Mul(p, power));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
