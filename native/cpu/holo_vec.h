// Complex vectors of holographic attention; compiled once for each instruction set, as vec.h is.
#if defined(ATTN_CPU_HOLO_VEC) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_HOLO_VEC
#undef ATTN_CPU_HOLO_VEC
#else
#define ATTN_CPU_HOLO_VEC
#endif

#include "exp_vec.h"
#include "holo_attention.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

struct Complex {
  VF re, im;
};
HWY_INLINE Complex plus(Complex a, Complex b) { return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)}; }
HWY_INLINE Complex scaled(Complex a, VF s) { return {hn::Mul(a.re, s), hn::Mul(a.im, s)}; }
HWY_INLINE Complex times(Complex a, Complex b) {
  return {hn::NegMulAdd(a.im, b.im, hn::Mul(a.re, b.re)), hn::MulAdd(a.re, b.im, hn::Mul(a.im, b.re))};
}
// conj(a) b
HWY_INLINE Complex conj_times(Complex a, Complex b) {
  return {hn::MulAdd(a.re, b.re, hn::Mul(a.im, b.im)), hn::NegMulAdd(a.im, b.re, hn::Mul(a.re, b.im))};
}
// Re(conj(a) b)
HWY_INLINE VF inner(Complex a, Complex b) { return hn::MulAdd(a.re, b.re, hn::Mul(a.im, b.im)); }
// s a + b
HWY_INLINE Complex scaled_plus(Complex a, VF s, Complex b) {
  return {hn::MulAdd(a.re, s, b.re), hn::MulAdd(a.im, s, b.im)};
}

// |z|², at least that of the least modulus.
HWY_INLINE VF square_of(Complex z) { return hn::Max(inner(z, z), hn::Set(F32(), kHoloLeast * kHoloLeast)); }
HWY_INLINE VF inverse_root(VF x) { return hn::Div(hn::Set(F32(), 1.0f), hn::Sqrt(x)); }

// z / max(|z|, least) and what its gradient needs.
struct Phasor {
  Complex u;
  VF inverse;
  hn::Mask<F32> free;  // |z| above the least: its length does not matter
};
HWY_INLINE Phasor phasor_of(Complex z) {
  const VF square = square_of(z), inverse = inverse_root(square);
  return {scaled(z, inverse), inverse, hn::Gt(square, hn::Set(F32(), kHoloLeast * kHoloLeast))};
}
// The gradient by z, of that by u; `along` is Re(conj(u) g).
HWY_INLINE Complex back(const Phasor& p, Complex g, VF along) {
  const VF a = hn::IfThenElseZero(p.free, along);
  return scaled({hn::NegMulAdd(p.u.re, a, g.re), hn::NegMulAdd(p.u.im, a, g.im)}, p.inverse);
}

// A vector of a row at p, or the n < lanes elements of it that are left.
template <bool kWhole, class T>
HWY_INLINE VF get(const T* p, size_t n) {
  if constexpr (kWhole) return load(p);
  return load_n(p, n);
}
template <bool kWhole, class T>
HWY_INLINE void set(VF v, T* p, size_t n) {
  if constexpr (kWhole)
    store(v, p);
  else
    store_n(v, p, n);
}
template <bool kWhole, class T>
HWY_INLINE Complex get_pair(const T* p, int64_t apart, size_t n) {
  return {get<kWhole>(p, n), get<kWhole>(p + apart, n)};
}
template <bool kWhole, class T>
HWY_INLINE void set_pair(Complex z, T* p, int64_t apart, size_t n) {
  set<kWhole>(z.re, p, n), set<kWhole>(z.im, p + apart, n);
}
// Parts of a block's state, `part` blocks into it.
HWY_INLINE Complex state_pair(const float* p, int64_t copy) {
  return {load(p + 2 * copy * kHoloBlock), load(p + (2 * copy + 1) * kHoloBlock)};
}
HWY_INLINE void set_state_pair(Complex z, float* p, int64_t copy) {
  store(z.re, p + 2 * copy * kHoloBlock), store(z.im, p + (2 * copy + 1) * kHoloBlock);
}

// Asks for what a block will read: rows of other parts lie between its own, so the hardware sees no stream.
template <class T>
HWY_INLINE void prefetch_pair(const T* p, int64_t apart) {
  hwy::Prefetch(p), hwy::Prefetch(p + apart);
}
// The same for what it will write.
template <class T>
HWY_INLINE void prefetch_own(const T* p, int64_t apart) {
  __builtin_prefetch(p, 1), __builtin_prefetch(p + apart, 1);
}

// fn.operator()<whole>(i, n) for the vectors of a block: from frequency i on, n of them.
template <class F>
HWY_INLINE void each_vector(int64_t lanes, F&& fn) {
  const auto N = static_cast<int64_t>(hn::Lanes(F32()));
  int64_t i = 0;
  for (; i + N <= lanes; i += N) fn.template operator()<true>(i, static_cast<size_t>(N));
  if (i < lanes) fn.template operator()<false>(i, static_cast<size_t>(lanes - i));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
