#version 450
// y = x in another dtype. Plan: src/ops/elementwise.ts, contiguous. float -> int truncates toward zero and
// saturates, NaN -> 0; int -> uint8 wraps; whatever is not 0 becomes true.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int FROM = 0;
layout(constant_id = 3) const int TO = 0;
PUSH(uint units;);  // of four elements
layout(set = 0, binding = 0) readonly buffer X { uint x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { uint y[]; };

const bool FROM_FLOAT = FROM == F32 || FROM == F16 || FROM == BF16;

uint convert(uint bits) {
  if (FROM == TO) return bits;
  if (TO == BOOL) return (FROM_FLOAT ? bits << (FROM == F32 ? 1 : 17) : bits) != 0u ? 1u : 0u;  // not counting -0
  if (!FROM_FLOAT && TO == I32) return bits;
  if (!FROM_FLOAT && TO == U8) return bits & 255u;
  const float v = bits_to_float(bits, FROM);
  if (TO == I32) return is_nan(v) ? 0u : v >= 2147483648.0 ? 0x7fffffffu : v <= -2147483648.0 ? 0x80000000u : uint(int(v));
  if (TO == U8) return is_nan(v) ? 0u : uint(clamp(v, 0.0, 255.0));
  return float_to_bits(v, TO);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint in_lanes = per_word(FROM), out_lanes = per_word(TO);
  uint unit = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, unit += gl_WorkGroupSize.x) {
    if (unit >= pc.units) return;
    uint made = 0u;
    for (uint k = 0u; k < 4u; k++) {
      const uint i = 4u * unit + k;
      made = insert_bits(made, convert(LOAD_BITS(x, FROM, i)), TO, k % out_lanes);
      if (k % out_lanes == out_lanes - 1u) {
        y[i / out_lanes] = made;
        made = 0u;
      }
    }
  }
}
