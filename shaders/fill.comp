#version 450
// words[i] = pattern for every i < words: how fill and zero-filling run, whatever the dtype (its bits repeated).
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
PUSH(uint words; uint pattern;);
layout(set = 0, binding = 0) writeonly buffer Out { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint i = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (i < pc.words) y.words[i] = pc.pattern;
}
