// 16-bit floats one at a time, rounding to nearest even: for tests and tables; kernels have vector forms.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace attn {

inline uint16_t to_bfloat(float x) {
  const auto u = std::bit_cast<uint32_t>(x);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // a NaN stays quiet
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

inline float from_bfloat(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

inline uint16_t to_half(float x) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const float a = std::fabs(x);
  if (std::isnan(x)) return 0x7e00;
  if (a >= 65520.0f) return sign | 0x7c00;
  if (a < 0x1p-14f) return sign | static_cast<uint16_t>(std::nearbyint(a * 0x1p24f));
  int e;
  const float m = std::frexp(a, &e);  // a = m 2^e, m in [0.5, 1)
  return static_cast<uint16_t>(sign |
                               (((e + 14) << 10) + static_cast<int>(std::nearbyint((2 * m - 1) * 1024))));
}

inline float from_half(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const float magnitude = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                          : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                           : std::ldexp(1.0f + mantissa / 1024.0f, exponent - 15);
  return bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace attn
