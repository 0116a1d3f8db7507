// The element types that kernels compute on, one at a time: scalars of every kernel file, tables, self-tests.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>

#include "../engine/types.h"

namespace attn::cpu {

struct Half {  // IEEE binary16
  uint16_t bits;
};
struct BFloat {  // the upper half of a float32
  uint16_t bits;
};

inline float to_f32(float x) { return x; }
inline float to_f32(BFloat x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
inline float to_f32(Half x) {
  // Shifted into place, the exponent is 112 too small, subnormals included: one exact multiplication mends
  // it.
  uint32_t u = std::bit_cast<uint32_t>(std::bit_cast<float>((x.bits & 0x7fffu) << 13) * 0x1p112f);
  if ((x.bits & 0x7c00) == 0x7c00) u |= 0x7f800000u;
  return std::bit_cast<float>(u | (uint32_t{x.bits} & 0x8000u) << 16);
}

template <class T>
T from_f32(float x);
template <>
inline float from_f32<float>(float x) {
  return x;
}
template <>
inline BFloat from_f32<BFloat>(float x) {
  const uint32_t u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}
template <>
inline Half from_f32<Half>(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), a = bits & 0x7fffffffu;
  uint32_t h;
  if (a > 0x7f800000u) {
    h = 0x7e00u;
  } else if (a >= 0x477ff000u) {  // 65520, halfway past the largest half, rounds to infinity
    h = 0x7c00u;
  } else if (a < 0x38800000u) {  // below 2^-14: adding 0.5 rounds to units of 2^-24
    h = std::bit_cast<uint32_t>(std::bit_cast<float>(a) + 0.5f) - 0x3f000000u;
  } else {
    h = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
  }
  return {static_cast<uint16_t>(h | (bits >> 16 & 0x8000u))};
}

// Calls fn(T{}) with the element type of a dtype that kernels compute on.
template <class F>
auto with_float(DType t, F&& fn) {
  switch (t) {
    case DType::f16:
      return fn(Half{});
    case DType::bf16:
      return fn(BFloat{});
    case DType::f32:
      return fn(float{});
    default:
      throw Error("ATTN_INTERNAL", "no kernel for dtype code " + std::to_string(static_cast<int>(t)));
  }
}

}  // namespace attn::cpu
