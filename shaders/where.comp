#version 450
// out = condition ? a : b, operands of the output's shape or one value. Plan: src/ops/elementwise.ts, contiguous.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int DTYPE = 0;
layout(constant_id = 3) const uint STILL = 0;  // bit 0: the condition is one value, bit 1: a is, bit 2: b is
PUSH(uint units;);                             // of 16 bytes of a and b
layout(set = 0, binding = 0) readonly buffer Condition { uint condition[]; };
layout(set = 0, binding = 1) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 2) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 3) writeonly buffer Out { uvec4 y[]; };

// All ones in the lanes of word k of unit i whose condition holds.
uint mask(uint i, uint k) {
  const uint lanes = per_word(DTYPE);
  uint made = 0u;
  for (uint lane = 0u; lane < lanes; lane++) {
    const uint element = (STILL & 1u) != 0u ? 0u : (4u * i + k) * lanes + lane;
    const uint ones = lanes == 1u ? 0xffffffffu : lanes == 2u ? 0xffffu : 0xffu;
    if (LOAD_BITS(condition, BOOL, element) != 0u) made |= ones << (lane * (32u / lanes));
  }
  return made;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint i = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, i += gl_WorkGroupSize.x) {
    if (i >= pc.units) return;
    const uvec4 u = (STILL & 2u) != 0u ? repeat_bits(extract_bits(a[0].x, DTYPE, 0u), DTYPE) : a[i];
    const uvec4 v = (STILL & 4u) != 0u ? repeat_bits(extract_bits(b[0].x, DTYPE, 0u), DTYPE) : b[i];
    const uvec4 m = uvec4(mask(i, 0u), mask(i, 1u), mask(i, 2u), mask(i, 3u));
    y[i] = (u & m) | (v & ~m);
  }
}
