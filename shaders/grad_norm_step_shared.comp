#version 450
// A workgroup to a segment of blocks, one to join them, through shared memory.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/team.glsl"
#include "lib/grad_norm.glsl"

void main() {
  if (GROUP_INDEX >= pc.count) return;
  if (STAGE == STEPS) {
    count_step(GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x);
    return;
  }
  float sum = 0.0, lost = 0.0;
  if (STAGE == PARTS) {
    const uint end = BLOCK * min(pc.blocks, (GROUP_INDEX + 1u) * pc.segment);
    for (uint e = BLOCK * GROUP_INDEX * pc.segment + MEMBER; e < end; e += MEMBERS)
      if (!left_out(e / BLOCK)) add_exactly(sum, lost, grads.of[e] * grads.of[e]);
  } else {
    for (uint k = MEMBER; k < pc.parts; k += MEMBERS) add_exactly(sum, lost, parts.of[k]);
  }
  const float total = team_add(sum - lost);
  if (MEMBER != 0u) return;
  if (STAGE == PARTS) parts.of[pc.first_part + GROUP_INDEX] = total;
  else conclude(total);
}
