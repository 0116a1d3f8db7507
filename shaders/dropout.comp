#version 450
// y = x scale where the upper 24 bits of its random word reach the threshold, else 0: an invocation makes the four
// elements of one counter. Element 0 of the windows is the first of counter {first_low, first_high}. Spec constant: 1
// dtype.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/vectors.glsl"
#include "lib/philox.glsl"
layout(constant_id = 1) const int DTYPE = 0;
PUSH(uint counters; uint first_low; uint first_high; uint threshold; float scale;);
FLOATS(0, readonly, x)
layout(set = 0, binding = 1) readonly buffer State { uint of[]; } state;
FLOATS(2, writeonly, y)

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint i = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i >= pc.counters) return;
  const uvec2 counter = counter_at(uvec2(pc.first_low, pc.first_high), i);
  const uvec4 words = philox(uvec4(counter, state.of[2], state.of[3]), uvec2(state.of[0], state.of[1]));
  const vec4 v = LOAD4(x, DTYPE, i) * pc.scale;
  const vec4 made = mix(vec4(0.0), v, greaterThanEqual(words >> 8, uvec4(pc.threshold)));
  STORE4(y, DTYPE, i, made)
}
