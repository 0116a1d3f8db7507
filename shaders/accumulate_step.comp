#version 450
// target += x, or = x, and not an element beyond it. Spec constants: 1 dtype of x, 2 replace.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int REPLACE = 0;
PUSH(uint size;);
layout(set = 0, binding = 0) buffer T { float of[]; } target;
layout(set = 0, binding = 1) readonly buffer X { uint words[]; } x;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint e = GROUP_INDEX * gl_WorkGroupSize.x * 4u + gl_LocalInvocationID.x;
  for (uint step = 0u; step < 4u && e < pc.size; step++, e += gl_WorkGroupSize.x) {
    const float v = LOAD(x.words, DTYPE, e);
    if (REPLACE != 0) target.of[e] = v;
    else target.of[e] += v;
  }
}
