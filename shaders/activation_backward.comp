#version 450
// dx = dy act'(x). Plan: src/ops/elementwise.ts, contiguous.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/activation.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int ACTIVATION = 0;
layout(constant_id = 3) const int DTYPE = 0;
layout(constant_id = 4) const uint STILL = 0;  // bit i: input i is one value
PUSH(uint units;);  // of 16 bytes
layout(set = 0, binding = 0) readonly buffer Dy { uvec4 dy[]; };
layout(set = 0, binding = 1) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 2) writeonly buffer Dx { uvec4 dx[]; };

uint apply_word(uint g, uint v) {
  uint made = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const float slope = slope(ACTIVATION, bits_to_float(extract_bits(v, DTYPE, lane), DTYPE));
    made = insert_bits(made, float_to_bits(bits_to_float(extract_bits(g, DTYPE, lane), DTYPE) * slope, DTYPE), DTYPE, lane);
  }
  return made;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint i = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, i += gl_WorkGroupSize.x) {
    if (i >= pc.units) return;
    const uvec4 g = dy[i], v = x[i];
    dx[i] = uvec4(apply_word(g.x, v.x), apply_word(g.y, v.y), apply_word(g.z, v.z), apply_word(g.w, v.w));
  }
}
