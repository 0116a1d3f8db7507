#version 450
// Philox4x32-10: an invocation makes the four elements of one counter. Plan and formulas: src/ops/random.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/philox.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int NORMAL = 0;
layout(constant_id = 2) const int DTYPE = 0;
PUSH(uint counters; uint first_low; uint first_high; uint seed[2]; uint offset[2]; uint a; uint b;);
layout(set = 0, binding = 0) writeonly buffer Y { uint y[]; };

// sqrt(-2 ln(1 - u)) {cos, sin}(2 pi v): v's quarter turns are taken off exactly before they become an angle.
vec2 box_muller(float u, float v) {
  const float r = sqrt(-2.0 * log_safe(1.0 - u));
  const float quarters = floor(4.0 * v + 0.5);
  const float angle = (4.0 * v - quarters) * 1.5707963267948966;
  const float s = sin_kernel(angle), c = cos_kernel(angle);
  const int q = int(quarters) & 3;
  const vec2 turned = q == 0 ? vec2(c, s) : q == 1 ? vec2(-s, c) : q == 2 ? vec2(-c, -s) : vec2(s, -c);
  return r * turned;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint i = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= pc.counters) return;
  const uvec2 counter = counter_at(uvec2(pc.first_low, pc.first_high), i);
  const uvec4 words = philox(uvec4(counter, pc.offset[0], pc.offset[1]), uvec2(pc.seed[0], pc.seed[1]));
  vec4 v = vec4(words >> 8) * (1.0 / 16777216.0);
  const float a = uintBitsToFloat(pc.a), b = uintBitsToFloat(pc.b);
  if (NORMAL != 0) v = a + b * vec4(box_muller(v.x, v.y), box_muller(v.z, v.w));
  else v = a + (b - a) * v;
  const uint lanes = per_word(DTYPE);
  for (uint k = 0u; k < 4u; k += lanes) {
    uint made = float_to_bits(v[k], DTYPE);
    if (lanes == 2u) made = insert_bits(made, float_to_bits(v[k + 1u], DTYPE), DTYPE, 1u);
    y[(4u * i + k) / lanes] = made;
  }
}
