#version 450
// c = f(a, b), both operands of the output's shape or one value. Plan: src/ops/elementwise.ts, contiguous.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/binary.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int OP = 0;
layout(constant_id = 3) const int DTYPE = 0;
layout(constant_id = 4) const uint STILL = 0;  // bit 0: a is one value, bit 1: b is
PUSH(uint units;);                             // of 16 bytes of a and b
layout(set = 0, binding = 0) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 1) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 2) writeonly buffer C { uvec4 c[]; };
layout(set = 0, binding = 2) writeonly buffer Bytes { uint c_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint i = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, i += gl_WorkGroupSize.x) {
    if (i >= pc.units) return;
    const uvec4 u = (STILL & 1u) != 0u ? repeat_bits(extract_bits(a[0].x, DTYPE, 0u), DTYPE) : a[i];
    const uvec4 v = (STILL & 2u) != 0u ? repeat_bits(extract_bits(b[0].x, DTYPE, 0u), DTYPE) : b[i];
    const uvec4 r = apply_words(OP, DTYPE, u, v);
    if (OP < FIRST_COMPARISON) {
      c[i] = r;
    } else {
      const uvec2 bytes = to_bytes(DTYPE, r);
      const uint words = per_word(DTYPE);
      c_words[words * i] = bytes.x;
      if (words == 2u) c_words[2u * i + 1u] = bytes.y;
    }
  }
}
