// Elementary functions on float32 vectors, right at the edges too: Highway's are accurate inside the ranges
// that they state (contrib/math, 1-4 ULP) and undefined outside; here infinities, zeros, NaNs and huge angles
// give what C's functions give.
#if defined(ATTN_CPU_MATH) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_MATH
#undef ATTN_CPU_MATH
#else
#define ATTN_CPU_MATH
#endif

#include <hwy/contrib/math/math-inl.h>

#include <cmath>

#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

HWY_INLINE VF vset(float x) { return hn::Set(F32(), x); }

// c[0] + c[1] x + c[2] x^2 + ...
template <size_t N>
HWY_INLINE VF polynomial(VF x, const float (&c)[N]) {
  VF sum = vset(c[N - 1]);
  for (size_t i = N - 1; i-- > 0;) sum = hn::MulAdd(sum, x, vset(c[i]));
  return sum;
}

HWY_INLINE VF vexp(VF x) {
  const VF y = hn::Exp(F32(), hn::Max(hn::Min(x, vset(89.f)), vset(-104.f)));  // e^89 overflows to infinity
  return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenZeroElse(hn::Lt(x, vset(-104.f)), y));
}

HWY_INLINE VF vlog(VF x) {
  const VF zero = hn::Zero(F32()), inf = vset(HUGE_VALF);
  VF y = hn::Log(F32(), x);
  y = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(inf), y);
  y = hn::IfThenElse(hn::Lt(x, zero), vset(NAN), y);
  return hn::IfThenElse(hn::Or(hn::Eq(x, inf), hn::IsNaN(x)), x, y);
}

// Beyond 39000 the range reduction runs out of bits: such vectors go through the C library, lane by lane.
template <float (*kLibrary)(float), class F>
HWY_INLINE VF periodic(VF x, F&& small) {
  if (HWY_LIKELY(hn::AllTrue(F32(), hn::Le(hn::Abs(x), vset(39000.f))))) return small();
  HWY_ALIGN float lanes[HWY_MAX_BYTES / 4];
  store(x, lanes);
  for (size_t i = 0; i < hn::Lanes(F32()); i++) lanes[i] = kLibrary(lanes[i]);
  return load(lanes);
}
inline float sin_library(float x) { return std::sin(x); }
inline float cos_library(float x) { return std::cos(x); }
HWY_INLINE VF vsin(VF x) {
  return periodic<sin_library>(x, [x]() HWY_ATTR { return hn::Sin(F32(), x); });
}
HWY_INLINE VF vcos(VF x) {
  return periodic<cos_library>(x, [x]() HWY_ATTR { return hn::Cos(F32(), x); });
}

HWY_INLINE VF vtanh(VF x) { return hn::Tanh(F32(), x); }

HWY_INLINE VF vsigmoid(VF x) {
  const VF one = vset(1.f);
  return hn::Div(one, hn::Add(one, vexp(hn::Neg(x))));
}

// |x| < 1: x S(x^2); beyond: 1 - exp(-L(|x|)). Minimax fits, relative error 4e-8 and 1e-9; in float32 1.7e-7.
// shaders/lib/math.glsl evaluates the same polynomials.
HWY_INLINE VF verf(VF x) {
  constexpr float kSmall[] = {1.1283791065216064f,   -0.37612324953079224f, 0.11280179768800735f,
                              -0.02671130746603012f, 0.004917546641081572f, -0.0005631403182633221f};
  constexpr float kLarge[] = {0.0003537023440003395f, 1.127040147781372f,    0.6382255554199219f,
                              0.10303746908903122f,   -0.02180536650121212f, 0.0029396195895969868f,
                              -0.0001855752634583041f};
  const VF a = hn::Abs(x), one = vset(1.f);
  const VF small = hn::Mul(x, polynomial(hn::Mul(x, x), kSmall));
  const VF rest = hn::Exp(F32(), hn::Neg(polynomial(hn::Min(a, vset(4.f)), kLarge)));
  const VF large = hn::CopySign(hn::Sub(one, rest), x);
  const VF y = hn::IfThenElse(hn::Lt(a, one), small, large);
  return hn::IfThenElse(hn::IsNaN(x), x, y);
}

// |x| < 1: its series, since the difference of exponentials would lose what they have in common; beyond with
// e^(|x| - 1), which leaves float32 after sinh x does, as the difference is exact.
HWY_INLINE VF vsinh(VF x) {
  constexpr float kSeries[] = {1.f, 1.f / 6, 1.f / 120, 1.f / 5040, 1.f / 362880};
  const VF a = hn::Abs(x), one = vset(1.f);
  const VF small = hn::Mul(x, polynomial(hn::Mul(x, x), kSeries));
  const VF e = vexp(hn::Sub(a, one));
  const VF large = hn::Sub(hn::Mul(vset(1.3591409142f), e), hn::Div(vset(0.1839397206f), e));  // e/2, 1/2e
  return hn::IfThenElse(hn::Lt(a, one), small, hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(large, x)));
}

// ln(a + r), r = sqrt(1 + a^2); where r is near 1, 2 atanh(a / (1 + r)) by a series that loses nothing near
// 0; far out ln a + ln 2, where a^2 would overflow. As in shaders/lib/math.glsl.
HWY_INLINE VF vasinh(VF x) {
  constexpr float kSeries[] = {2.f, 0.6666666269302368f, 0.4000033438205719f, 0.28537285327911377f,
                               0.23582607507705688f};
  const VF a = hn::Abs(x), one = vset(1.f);
  const auto far = hn::Gt(a, vset(1e6f));
  const VF r = hn::Sqrt(hn::MulAdd(a, a, one));
  const VF y = hn::Div(a, hn::Add(one, r));
  const VF small = hn::Mul(y, polynomial(hn::Mul(y, y), kSeries));
  const VF log = vlog(hn::IfThenElse(far, a, hn::Add(a, r)));
  const VF large = hn::Add(log, hn::IfThenElseZero(far, vset(0.69314718056f)));
  const VF made = hn::IfThenElse(hn::Gt(a, vset(0.35f)), large, small);
  return hn::IfThenElse(hn::IsNaN(x), x, hn::CopySign(made, x));
}

// x^y as C's pow defines it, through exp(y log|x|) in float64: exact to float32.
HWY_INLINE VF vpow(VF x, VF y) {
  using D = hn::ScalableTag<double>;
  const D d;
  const hn::Rebind<float, D> half;
  HWY_ALIGN float xs[HWY_MAX_BYTES / 4], ys[HWY_MAX_BYTES / 4];
  store(x, xs);
  store(y, ys);
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0), inf = hn::Set(d, HUGE_VAL), nan = hn::Set(d, NAN);
  for (size_t i = 0; i < hn::Lanes(F32()); i += hn::Lanes(d)) {
    const auto b = hn::PromoteTo(d, hn::Load(half, xs + i)), e = hn::PromoteTo(d, hn::Load(half, ys + i));
    const auto a = hn::Abs(b);
    auto log = hn::Log(d, a);
    log = hn::IfThenElse(hn::Eq(a, zero), hn::Neg(inf), log);
    log = hn::IfThenElse(hn::Eq(a, inf), inf, log);
    const auto t = hn::Mul(e, log);
    auto r =
        hn::Exp(d, hn::Max(hn::Min(t, hn::Set(d, 700.0)), hn::Set(d, -700.0)));  // past float32 both ways
    r = hn::IfThenElse(hn::Eq(a, one), one, r);
    const auto whole = hn::Eq(hn::Trunc(e), e);  // infinities too, as even numbers
    const auto halved = hn::Mul(e, hn::Set(d, 0.5));
    const auto odd = hn::And(whole, hn::Not(hn::Eq(hn::Trunc(halved), halved)));
    r = hn::IfThenElse(odd, hn::CopySign(r, b), r);
    const auto finite = hn::Lt(a, inf);
    r = hn::IfThenElse(hn::And(hn::And(hn::Lt(b, zero), finite), hn::Not(whole)), nan, r);
    r = hn::IfThenElse(hn::Or(hn::IsNaN(b), hn::IsNaN(e)), nan, r);
    r = hn::IfThenElse(hn::Or(hn::Eq(e, zero), hn::Eq(b, one)), one, r);
    hn::Store(hn::DemoteTo(half, r), half, xs + i);
  }
  return load(xs);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
