// Activations and their slopes on float32 vectors, and the walk that applies them to rows.
// shaders/lib/activation.glsl has the same formulas.
#if defined(ATTN_CPU_ACTIVATE) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ACTIVATE
#undef ATTN_CPU_ACTIVATE
#else
#define ATTN_CPU_ACTIVATE
#endif

#include "activation.h"
#include "math.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// 2u = x (c + d x^2) of gelu_tanh: x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
inline constexpr float kTanhC = 2 * 0.7978845608028654f, kTanhD = kTanhC * 0.044715f;

template <Activation A>
HWY_INLINE VF activate(VF x) {
  const VF half = vset(0.5f), one = vset(1.f);
  if constexpr (A == Activation::relu) return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(F32())), x);  // keeps NaN
  if constexpr (A == Activation::gelu)
    return hn::Mul(hn::Mul(half, x), hn::Add(one, verf(hn::Mul(x, vset(0.7071067811865476f)))));
  if constexpr (A == Activation::gelu_tanh)
    return hn::Mul(x, vsigmoid(hn::Mul(x, hn::MulAdd(hn::Mul(x, x), vset(kTanhD), vset(kTanhC)))));
  if constexpr (A == Activation::silu) return hn::Mul(x, vsigmoid(x));
  if constexpr (A == Activation::sigmoid) return vsigmoid(x);
  if constexpr (A == Activation::tanh) return vtanh(x);
  return x;
}

// x where it is a number of moderate size, else the end of the range: what is multiplied by 0 must be finite.
HWY_INLINE VF moderate(VF x) { return hn::Max(hn::Min(x, vset(200.f)), vset(-200.f)); }

template <Activation A>
HWY_INLINE VF slope_of(VF x) {
  const VF half = vset(0.5f), one = vset(1.f);
  if constexpr (A == Activation::relu) {
    const VF zero = hn::Zero(F32());
    return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElseZero(hn::Gt(x, zero), one));
  }
  // Phi(x) + x Phi'(x)
  if constexpr (A == Activation::gelu) {
    const VF m = moderate(x);
    const VF density = hn::Mul(vset(0.3989422804014327f), vexp(hn::Mul(hn::Mul(m, m), vset(-0.5f))));
    return hn::MulAdd(m, density, hn::Mul(half, hn::Add(one, verf(hn::Mul(x, vset(0.7071067811865476f))))));
  }
  // s + x s (1 - s) d(2u)/dx, s = sigmoid(2u)
  if constexpr (A == Activation::gelu_tanh) {
    const VF m = moderate(x), m2 = hn::Mul(m, m);
    const VF s = vsigmoid(hn::Mul(x, hn::MulAdd(hn::Mul(x, x), vset(kTanhD), vset(kTanhC))));
    const VF bend = hn::Mul(m, hn::MulAdd(m2, vset(3 * kTanhD), vset(kTanhC)));
    return hn::MulAdd(hn::Mul(s, hn::Sub(one, s)), bend, s);
  }
  if constexpr (A == Activation::silu) {
    const VF s = vsigmoid(x);
    return hn::MulAdd(hn::Mul(s, hn::Sub(one, s)), moderate(x), s);
  }
  if constexpr (A == Activation::sigmoid) {
    const VF s = vsigmoid(x);
    return hn::Mul(s, hn::Sub(one, s));
  }
  if constexpr (A == Activation::tanh) {
    const VF t = vtanh(x);
    return hn::NegMulAdd(t, t, one);
  }
  return one;
}

// Walks n elements in whole vectors and one part of a vector: fn(get, put), where get(p) and put(v, p) move
// those of the array p whose turn it is. Touches nothing past the n.
template <class F>
HWY_INLINE void walk(int64_t n, F&& fn) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    fn([i](const auto* p) HWY_ATTR { return load(p + i); }, [i](VF v, auto* p) HWY_ATTR { store(v, p + i); });
  if (i == n) return;
  const size_t rest = static_cast<size_t>(n - i);
  fn([i, rest](const auto* p) HWY_ATTR { return load_n(p + i, rest); },
     [i, rest](VF v, auto* p) HWY_ATTR { store_n(v, p + i, rest); });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
