#version 450
// An invocation to a segment of blocks, one to join them: no barriers.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/grad_norm.glsl"

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  float sum = 0.0, lost = 0.0;
  if (STAGE == PARTS) {
    const uint end = min(pc.blocks, (w + 1u) * pc.segment);
    for (uint block = w * pc.segment; block < end; block++) {
      if (left_out(block)) continue;
      float part = 0.0;
      for (uint e = block * BLOCK; e < (block + 1u) * BLOCK; e++) part += grads.of[e] * grads.of[e];
      add_exactly(sum, lost, part);
    }
    parts.of[pc.first_part + w] = sum - lost;
  } else if (STAGE == JOIN) {
    for (uint k = 0u; k < pc.parts; k++) add_exactly(sum, lost, parts.of[k]);
    conclude(sum - lost);
  } else {
    count_step(w);
  }
}
