#version 450
// A stable counting sort of positions by id, in stages; ids outside 0 .. rows - 1 are left out. `counts` is
// [segments, rows]; `start` holds the place of each list within its block of 256 lists, then the places of the blocks:
// list v begins at start[v] + start[rows + 1 + v / 256] of `position`. Spec constant: 1 stage.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/lists.glsl"
const int ZERO = 0, COUNT = 1, COLUMNS = 2, BLOCKS = 3, TOP = 4, PLACE = 5;  // = src/ops/embedding.gpu.ts
layout(constant_id = 1) const int STAGE = 0;
PUSH(uint invocations; uint n; uint rows; uint segments; uint segment; uint blocks;);
layout(set = 0, binding = 0) readonly buffer Ids { uint of[]; } ids;
layout(set = 0, binding = 1) buffer Counts { uint of[]; } counts;
layout(set = 0, binding = 2) buffer Start { uint of[]; } start;
layout(set = 0, binding = 3) writeonly buffer Position { uint of[]; } position;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  if (STAGE == ZERO) {
    counts.of[w] = 0u;
  } else if (STAGE == COLUMNS) {
    uint sum = 0u;
    for (uint s = 0u; w < pc.rows && s < pc.segments; s++) {
      const uint count = counts.of[s * pc.rows + w];
      counts.of[s * pc.rows + w] = sum;
      sum += count;
    }
    start.of[w] = sum;  // a length, and 0 for the end of the last list
  } else if (STAGE == BLOCKS) {
    uint sum = 0u;
    const uint end = min((w + 1u) * LISTS_BLOCK, pc.rows + 1u);
    for (uint v = w * LISTS_BLOCK; v < end; v++) {
      const uint count = start.of[v];
      start.of[v] = sum;
      sum += count;
    }
    start.of[pc.rows + 1u + w] = sum;
  } else if (STAGE == TOP) {
    uint sum = 0u;
    for (uint b = pc.rows + 1u; b < pc.rows + 1u + pc.blocks; b++) {
      const uint count = start.of[b];
      start.of[b] = sum;
      sum += count;
    }
  } else {
    const uint end = min((w + 1u) * pc.segment, pc.n);
    for (uint i = w * pc.segment; i < end; i++) {
      const uint v = ids.of[i];
      if (v >= pc.rows) continue;
      const uint place = counts.of[w * pc.rows + v];
      counts.of[w * pc.rows + v] = place + 1u;
      if (STAGE == PLACE) position.of[LIST_START(start.of, v, pc.rows) + place] = i;
    }
  }
}
