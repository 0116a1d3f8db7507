#version 450
// Sums the losses of rows and counts those whose label is not ignored: each segment's, the segments', or all at once.
// Spec constant: 1 stage.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/sum.glsl"
const int PARTS = 0, JOIN = 1, WHOLE = 2;  // = src/ops/cross-entropy.gpu.ts
const uint MEAN = 0u;
layout(constant_id = 1) const int STAGE = 0;
PUSH(uint invocations; uint n; uint segment; uint ignored; uint reduction;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } from;  // losses, or {sum, count} of segments
layout(set = 0, binding = 1) readonly buffer Labels { uint of[]; } labels;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } to;  // {sum, count} of segments, or the loss
layout(set = 0, binding = 3) writeonly buffer Count { uint words[]; } count_out;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  float sum = 0.0, lost = 0.0;
  uint count = 0u;
  const uint end = min((w + 1u) * pc.segment, pc.n);
  for (uint i = w * pc.segment; i < end; i++) {
    if (STAGE == JOIN) {
      add_exactly(sum, lost, uintBitsToFloat(from.words[2u * i]));
      count += from.words[2u * i + 1u];
    } else {
      add_exactly(sum, lost, uintBitsToFloat(from.words[i]));
      count += labels.of[i] != pc.ignored ? 1u : 0u;
    }
  }
  if (STAGE == PARTS) {
    to.words[2u * w] = floatBitsToUint(sum);
    to.words[2u * w + 1u] = count;
    return;
  }
  to.words[0] = floatBitsToUint(pc.reduction == MEAN ? sum / float(max(count, 1u)) : sum);
  if (pc.reduction == MEAN) count_out.words[0] = count;
}
