#version 450
// p = p (1 - lr wd) - lr x, unless the step is skipped: src/ops/muon.ts. Spec constant 1: dtype of x.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
PUSH(uint size; uint group;);
layout(set = 0, binding = 0) buffer P { float of[]; } params;
layout(set = 0, binding = 1) readonly buffer X { uint words[]; } x;
layout(set = 0, binding = 2) readonly buffer H { float of[]; } groups;
layout(set = 0, binding = 3) readonly buffer S { float of[4]; } scalars;

void main() {
  if (GROUP_INDEX >= pc.count || scalars.of[2] == 0.0) return;
  const float lr = groups.of[8u * pc.group], keep = 1.0 - lr * groups.of[8u * pc.group + 1u];
  uint e = GROUP_INDEX * gl_WorkGroupSize.x * 4u + gl_LocalInvocationID.x;
  for (uint step = 0u; step < 4u && e < pc.size; step++, e += gl_WorkGroupSize.x)
    params.of[e] = params.of[e] * keep - lr * LOAD(x.words, DTYPE, e);
}
