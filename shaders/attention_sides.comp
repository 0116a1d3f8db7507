#version 450
// Brings the gradients of the keys' sides from where dkv put them, by batch entry, head and time, to where the operand
// has them, after those of the queries: by batch entry, time and head. One invocation to a key of a head.
#extension GL_GOOGLE_include_directive : require
#include "lib/head.glsl"

PUSH(uint keys; uint tk; uint key_heads; uint pairs; uint sides_batch; uint first;);

layout(std430, binding = 0) readonly buffer Rows { vec2 row_stats[]; };
layout(std430, binding = 1) writeonly buffer DSides { float dsides[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint key = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;  // head fastest
  if (key >= pc.keys) return;
  const uint head = key % pc.key_heads, j = key / pc.key_heads % pc.tk, b = key / pc.key_heads / pc.tk;
  dsides[b * pc.sides_batch + pc.pairs + j * pc.key_heads + head] =
      row_stats[pc.first + (b * pc.key_heads + head) * pc.tk + j].y;
}
