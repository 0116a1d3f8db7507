// exp(x - max) below or at 1: infinities and NaN by their bits, because drivers' exp may clamp them away.
#ifndef ATTN_SOFTMAX
#define ATTN_SOFTMAX
#include "sum.glsl"

#define LOWEST uintBitsToFloat(0xff800000u)  // -inf

float exp_below(float x, float max) {
  const float d = x - max;
  return nan_bits(d) ? d : d < -87.0 ? 0.0 : exp(d);
}

float greater(float a, float b) { return b > a ? b : a; }

// A line that is -inf throughout has nothing to subtract and nothing to divide by: it gives zeros.
float max_or_0(float max) { return floatBitsToUint(max) == 0xff800000u ? 0.0 : max; }
float inverse(float sum) { return sum == 0.0 ? 0.0 : 1.0 / sum; }

// Order-preserving integers, so that a team's maximum is an integer one. NaN is never the maximum.
uint key_of(float f) {
  const uint u = floatBitsToUint(f);
  return (u & 0x80000000u) != 0u ? ~u : u | 0x80000000u;
}
float float_of(uint key) { return uintBitsToFloat((key & 0x80000000u) != 0u ? key ^ 0x80000000u : ~key); }
#endif
