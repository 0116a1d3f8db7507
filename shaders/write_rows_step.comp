#version 450
// Runs of `run` words into rows of `capacity` words, `at` words in; a word an invocation.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
PUSH(uint words; uint run; uint capacity; uint at;);
layout(set = 0, binding = 0) writeonly buffer Target { uint words[]; } target;
layout(set = 0, binding = 1) readonly buffer In { uint words[]; } x;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  target.words[w / pc.run * pc.capacity + pc.at + w % pc.run] = x.words[w];
}
