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

// 1/2 + x P(2 (x / range)^2 - 1) for |x| <= range, as two chains of half the length; beyond, 0 or 1.
template <size_t N>
HWY_INLINE VF half_and_odd(VF x, float range, const float (&c)[N]) {
  const VF t = hn::MulAdd(hn::Mul(x, x), vset(2 / (range * range)), vset(-1.f)), t2 = hn::Mul(t, t);
  constexpr size_t kOdd = (N - 1) / 2 * 2 == N - 1 ? N - 2 : N - 1, kEven = kOdd == N - 1 ? N - 2 : N - 1;
  VF odd = vset(c[kOdd]), even = vset(c[kEven]);
  for (size_t i = kOdd; i > 1; i -= 2) odd = hn::MulAdd(odd, t2, vset(c[i - 2]));
  for (size_t i = kEven; i > 0; i -= 2) even = hn::MulAdd(even, t2, vset(c[i - 2]));
  const VF inside = hn::MulAdd(x, hn::MulAdd(odd, t, even), vset(0.5f));
  const VF outside = hn::IfThenElseZero(hn::Gt(x, hn::Zero(F32())), vset(1.f));
  return hn::IfThenElse(hn::Gt(hn::Abs(x), vset(range)), outside, inside);
}

// Phi(x), and Phi(x) + x Phi'(x), at a third of the cost of erf and exp. Minimax fits, of Phi weighted by
// |x|: x Phi(x) errs by 7e-7 and the other by 6e-7, what is left out at the ends included. Coarse ones, for
// results that are rounded to halves, by 5e-5 and 7e-5.
template <bool kCoarse>
HWY_INLINE VF normal_share(VF x) {
  constexpr float kFine[] = {0.13465934991836548f,   -0.06712677329778671f,   0.04964567720890045f,
                             -0.039764877408742905f, 0.032033976167440414f,   -0.02502758428454399f,
                             0.0185177531093359f,    -0.012834437191486359f,  0.00849608052521944f,
                             -0.005331745371222496f, 0.0027472202200442553f,  -0.0011486361036077142f,
                             0.0007948007551021874f, -0.0006178281037136912f, 0.00019510849961079657f};
  constexpr float kRough[] = {0.16593489050865173f,  -0.08077754825353622f,  0.05573306232690811f,
                              -0.03916527330875397f, 0.02532268315553665f,   -0.014616326428949833f,
                              0.009229288436472416f, -0.006027746479958296f, 0.002012391109019518f};
  if constexpr (kCoarse) return half_and_odd(x, 4.25f, kRough);
  return half_and_odd(x, 5.25f, kFine);
}
template <bool kCoarse>
HWY_INLINE VF gelu_slope(VF x) {
  constexpr float kFine[] = {
      0.12875917553901672f,  -0.06574013829231262f,  0.05367087200284004f, -0.053725823760032654f,
      0.06018722802400589f,  -0.06885716319084167f,  0.07533518224954605f, -0.07291943579912186f,
      0.06065642088651657f,  -0.05308624729514122f,  0.04956645518541336f, -0.02782345376908779f,
      0.004100702702999115f, -0.006425028201192617f, 0.01212024874985218f, -0.004909832030534744f};
  constexpr float kRough[] = {0.15944576263427734f,  -0.08992299437522888f, 0.08618593215942383f,
                              -0.09536771476268768f, 0.10503894090652466f,  -0.08775793761014938f,
                              0.04773271456360817f,  -0.04548383876681328f, 0.05596704035997391f,
                              -0.02472325973212719f};
  if constexpr (kCoarse) return half_and_odd(x, 4.5f, kRough);
  return half_and_odd(x, 5.5f, kFine);
}

// 2u = x (c + d x^2) of gelu_tanh: x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3)
inline constexpr float kTanhC = 2 * 0.7978845608028654f, kTanhD = kTanhC * 0.044715f;

template <Activation A, bool kCoarse = false>
HWY_INLINE VF activate(VF x) {
  if constexpr (A == Activation::relu) return hn::IfThenZeroElse(hn::Lt(x, hn::Zero(F32())), x);  // keeps NaN
  if constexpr (A == Activation::gelu) return hn::Mul(x, normal_share<kCoarse>(x));
  if constexpr (A == Activation::gelu_tanh)
    return hn::Mul(x, vsigmoid(hn::Mul(x, hn::MulAdd(hn::Mul(x, x), vset(kTanhD), vset(kTanhC)))));
  if constexpr (A == Activation::silu) return hn::Mul(x, vsigmoid(x));
  if constexpr (A == Activation::sigmoid) return vsigmoid(x);
  if constexpr (A == Activation::tanh) return vtanh(x);
  return x;
}

// x where it is a number of moderate size, else the end of the range: what is multiplied by 0 must be finite.
HWY_INLINE VF moderate(VF x) { return hn::Max(hn::Min(x, vset(200.f)), vset(-200.f)); }

template <Activation A, bool kCoarse = false>
HWY_INLINE VF slope_of(VF x) {
  const VF one = vset(1.f);
  if constexpr (A == Activation::relu) {
    const VF zero = hn::Zero(F32());
    return hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElseZero(hn::Gt(x, zero), one));
  }
  if constexpr (A == Activation::gelu) return gelu_slope<kCoarse>(x);
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

// As store(), in one instruction where the processor has it (numbers below 2^-126 become 0 there).
template <class T>
HWY_INLINE void store_fast(VF v, T* p) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (std::is_same_v<T, BFloat>) {
    static const bool has = __builtin_cpu_supports("avx512bf16");
    if (HWY_LIKELY(has)) {
      __m256i halves;
      asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(v.raw));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves);
      return;
    }
  }
#endif
  store(v, p);
}

// Walks n elements in whole vectors and one part of a vector: fn(get, put), where get(p) and put(v, p) move
// those of the array p whose turn it is. Touches nothing past the n.
template <class F>
HWY_INLINE void walk(int64_t n, F&& fn) {
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    fn([i](const auto* p) HWY_ATTR { return load(p + i); },
       [i](VF v, auto* p) HWY_ATTR { store_fast(v, p + i); });
  if (i == n) return;
  const size_t rest = static_cast<size_t>(n - i);
  fn([i, rest](const auto* p) HWY_ATTR { return load_n(p + i, rest); },
     [i, rest](VF v, auto* p) HWY_ATTR { store_n(v, p + i, rest); });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
