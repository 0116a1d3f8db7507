// Vectors over the four element types that kernels compute on. float32, float16 and bfloat16 are all loaded
// as float32 vectors and rounded to nearest even when stored; int32 stays itself. One header for every kernel
// file:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "cpu/softmax.cc"
//   #include "targets.h"
//   #include <hwy/foreach_target.h>   // compiles the file once for each instruction set
//   #include "vec.h"
//
// Tails: `load` and `store` move whole vectors. Operands are 64-byte aligned and padded to 64 bytes, so that
// is safe at the end of an operand as long as the walk began at its start; anywhere else use load_n and
// store_n.
#if defined(ATTN_CPU_VEC) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_VEC
#undef ATTN_CPU_VEC
#else
#define ATTN_CPU_VEC
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <cstring>

#include "element.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using U32 = hn::ScalableTag<uint32_t>;
using U16 = hn::Rebind<uint16_t, F32>;  // as many lanes as F32, half the bytes
using U8 = hn::Rebind<uint8_t, F32>;
using VF = hn::Vec<F32>;
using VI = hn::Vec<I32>;
using VU = hn::Vec<U32>;

// F16C and NEON convert halves in hardware; SSE4 does it with integers.
#if HWY_ARCH_X86
#define ATTN_HALF_NATIVE (HWY_TARGET <= HWY_AVX2)
#else
#define ATTN_HALF_NATIVE (HWY_TARGET == HWY_NEON)
#endif

HWY_INLINE VF load(const float* p) { return hn::LoadU(F32(), p); }
HWY_INLINE VI load(const int32_t* p) { return hn::LoadU(I32(), p); }
HWY_INLINE VF load(const BFloat* p) {
  const auto bits = hn::LoadU(U16(), reinterpret_cast<const uint16_t*>(p));
  return hn::BitCast(F32(), hn::ShiftLeft<16>(hn::PromoteTo(U32(), bits)));
}
HWY_INLINE VF load(const Half* p) {
#if ATTN_HALF_NATIVE
  const hn::Rebind<hwy::float16_t, F32> half;
  return hn::PromoteTo(F32(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(p)));
#else
  const U32 u;
  const VU bits = hn::PromoteTo(u, hn::LoadU(U16(), reinterpret_cast<const uint16_t*>(p)));
  const VU magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(u, 0x7fff)));
  const VU scaled = hn::BitCast(u, hn::Mul(hn::BitCast(F32(), magnitude), hn::Set(F32(), 0x1p112f)));
  const auto special = hn::Gt(hn::BitCast(I32(), magnitude), hn::Set(I32(), (0x7c00 << 13) - 1));
  const VU exponent = hn::BitCast(u, hn::IfThenElseZero(special, hn::Set(I32(), 0x7f800000)));
  const VU sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(u, 0x8000)));
  return hn::BitCast(F32(), hn::Or(hn::Or(scaled, exponent), sign));
#endif
}

// Sixteen-bit storage of a float32 vector.
HWY_INLINE hn::Vec<U16> narrow(VF v, BFloat) {
  const U32 u;
  const VU bits = hn::BitCast(u, v);
  const VU odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const VU rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(u, 0x7fff)), odd));
  const VU quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(u, 0x40));
  const VU out = hn::IfThenElse(hn::RebindMask(u, hn::IsNaN(v)), quiet, rounded);
  return hn::DemoteTo(U16(), hn::BitCast(I32(), out));
}
HWY_INLINE hn::Vec<U16> narrow(VF v, Half) {
#if ATTN_HALF_NATIVE
  const hn::Rebind<hwy::float16_t, F32> half;
  return hn::BitCast(U16(), hn::DemoteTo(half, v));
#else
  const I32 i;
  const VI bits = hn::BitCast(i, v);
  const VI a = hn::And(bits, hn::Set(i, 0x7fffffff));
  const VI odd = hn::And(hn::ShiftRight<13>(a), hn::Set(i, 1));
  const VI normal = hn::ShiftRight<13>(hn::Add(hn::Add(a, hn::Set(i, 0xfff - 0x38000000)), odd));
  const VF halved = hn::Add(hn::BitCast(F32(), a), hn::Set(F32(), 0.5f));
  const VI tiny = hn::Sub(hn::BitCast(i, halved), hn::Set(i, 0x3f000000));
  VI h = hn::IfThenElse(hn::Lt(a, hn::Set(i, 0x38800000)), tiny, normal);
  h = hn::IfThenElse(hn::Gt(a, hn::Set(i, 0x477fefff)), hn::Set(i, 0x7c00), h);
  h = hn::IfThenElse(hn::Gt(a, hn::Set(i, 0x7f800000)), hn::Set(i, 0x7e00), h);
  const VU sign = hn::And(hn::ShiftRight<16>(hn::BitCast(U32(), bits)), hn::Set(U32(), 0x8000));
  return hn::DemoteTo(U16(), hn::Or(h, hn::BitCast(i, sign)));
#endif
}

HWY_INLINE void store(VF v, float* p) { hn::StoreU(v, F32(), p); }
HWY_INLINE void store(VI v, int32_t* p) { hn::StoreU(v, I32(), p); }
HWY_INLINE void store(VF v, BFloat* p) {
  hn::StoreU(narrow(v, BFloat{}), U16(), reinterpret_cast<uint16_t*>(p));
}
HWY_INLINE void store(VF v, Half* p) { hn::StoreU(narrow(v, Half{}), U16(), reinterpret_cast<uint16_t*>(p)); }

// Past the caches, for outputs that would only evict what is still needed; p is aligned to its vector, and
// hwy::FlushStream() must follow before another thread reads.
HWY_INLINE void stream(VF v, float* p) { hn::Stream(v, F32(), p); }
HWY_INLINE void stream(VI v, int32_t* p) { hn::Stream(v, I32(), p); }
HWY_INLINE void stream(VF v, BFloat* p) {
  hn::Stream(narrow(v, BFloat{}), U16(), reinterpret_cast<uint16_t*>(p));
}
HWY_INLINE void stream(VF v, Half* p) {
  hn::Stream(narrow(v, Half{}), U16(), reinterpret_cast<uint16_t*>(p));
}

// The first n < lanes elements, the others 0.
template <class T>
HWY_INLINE auto load_n(const T* p, size_t n) {
  HWY_ALIGN T buffer[HWY_MAX_BYTES / 4] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return load(buffer);
}
template <class V, class T>
HWY_INLINE void store_n(V v, T* p, size_t n) {
  HWY_ALIGN T buffer[HWY_MAX_BYTES / 4];
  store(v, buffer);
  std::memcpy(p, buffer, n * sizeof(T));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
