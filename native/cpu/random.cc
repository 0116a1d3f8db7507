// uniform and normal from a counter-based generator: element i is made from lane i % 4 of counter i / 4,
// whoever computes it. Attributes: distribution (0 uniform, 1 normal), dtype, elements, seed low, seed high,
// offset low, offset high, then low and high, or mean and standard deviation.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/random.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "map.h"
#include "math.h"
#include "philox.h"

#ifndef ATTN_CPU_RANDOM
#define ATTN_CPU_RANDOM
namespace attn::cpu {
struct Stream {
  PhiloxKey key;
  float a, b;  // low and high, or mean and standard deviation
};
// Elements [begin, end) of the stream into y[begin...]; begin is a multiple of kMapAlign.
using RandomLoop = void (*)(const Stream& stream, void* y, int64_t begin, int64_t end);
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// The upper 24 bits as a number in [0, 1), exact in float32.
HWY_INLINE VF unit(const uint32_t* words) {
  const VU top = hn::ShiftRight<8>(hn::LoadU(U32(), words));
  return hn::Mul(hn::ConvertTo(F32(), hn::BitCast(I32(), top)), vset(0x1p-24f));
}

template <class T>
void uniform_loop(const Stream& s, void* out, int64_t begin, int64_t end) {
  T* y = static_cast<T*>(out);
  uint32_t words[4][kCounters];
  const VF low = vset(s.a), range = vset(s.b - s.a);
  HWY_ALIGN float made[4 * kCounters];
  for (int64_t i = begin; i < end; i += 4 * kCounters) {
    philox(s.key, i / 4, words);
    for (int64_t j = 0; j < kCounters; j += static_cast<int64_t>(hn::Lanes(F32()))) {
      const auto value = [&](int k) HWY_ATTR { return hn::MulAdd(unit(&words[k][j]), range, low); };
      hn::StoreInterleaved4(value(0), value(1), value(2), value(3), F32(), made + 4 * j);
    }
    for (int64_t j = 0; j < std::min<int64_t>(4 * kCounters, end - i); j++) y[i + j] = from_f32<T>(made[j]);
  }
}

// Box and Muller: two uniforms u, v make two normals sqrt(-2 ln(1 - u)) {cos, sin}(2 pi v).
struct Pair {
  VF x, y;
};
HWY_INLINE Pair box_muller(VF u, VF v) {
  const VF r = hn::Sqrt(hn::Mul(vset(-2.f), vlog(hn::Sub(vset(1.f), u))));  // 1 - u is exact and above 0
  const VF angle = hn::Mul(v, vset(6.2831853071795865f));
  return {hn::Mul(r, hn::Cos(F32(), angle)), hn::Mul(r, hn::Sin(F32(), angle))};
}

template <class T>
void normal_loop(const Stream& s, void* out, int64_t begin, int64_t end) {
  T* y = static_cast<T*>(out);
  uint32_t words[4][kCounters];
  const VF mean = vset(s.a), deviation = vset(s.b);
  HWY_ALIGN float made[4 * kCounters];
  for (int64_t i = begin; i < end; i += 4 * kCounters) {
    philox(s.key, i / 4, words);
    for (int64_t j = 0; j < kCounters; j += static_cast<int64_t>(hn::Lanes(F32()))) {
      const Pair p = box_muller(unit(&words[0][j]), unit(&words[1][j]));
      const Pair q = box_muller(unit(&words[2][j]), unit(&words[3][j]));
      const auto value = [&](VF z) HWY_ATTR { return hn::MulAdd(z, deviation, mean); };
      hn::StoreInterleaved4(value(p.x), value(p.y), value(q.x), value(q.y), F32(), made + 4 * j);
    }
    for (int64_t j = 0; j < std::min<int64_t>(4 * kCounters, end - i); j++) y[i + j] = from_f32<T>(made[j]);
  }
}

RandomLoop choose_random(bool normal, DType t) {
  return with_float(t, [normal](auto element) -> RandomLoop {
    using T = decltype(element);
    return normal ? normal_loop<T> : uniform_loop<T>;
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_random);

static Kernel make_random(Attrs& attrs) {
  const bool normal = attrs.b();
  const DType t = attrs.dtype();
  const int64_t n = attrs.i();
  Stream s;
  for (uint32_t* word : {&s.key.seed[0], &s.key.seed[1], &s.key.offset[0], &s.key.offset[1]})
    *word = static_cast<uint32_t>(attrs.i());
  s.a = static_cast<float>(attrs.f());
  s.b = static_cast<float>(attrs.f());
  const RandomLoop loop = HWY_DYNAMIC_DISPATCH(choose_random)(normal, t);
  return [=](const Operands& o) {
    void* y = o.out[0];
    parallel_for(
        n, kSpecialGrain, [&](int64_t begin, int64_t end) { loop(s, y, begin, end); }, kMapAlign);
  };
}

ATTN_CPU_KERNEL(random, make_random);
}  // namespace attn::cpu
#endif
