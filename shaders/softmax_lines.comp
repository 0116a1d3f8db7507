#version 450
// Softmax and its kin along any axis of [outer, n, inner]. One invocation to a line leaves its two numbers in scratch;
// or to a segment of a line {max, sum}, which are joined; then one invocation to a word of output.
// Spec constants: 1 dtype, 2 kind, 3 stage.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/softmax_kinds.glsl"
const int LINES = 0, PARTS = 1, JOIN = 2, APPLY = 3;  // = src/ops/softmax.gpu.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 3) const int STAGE = 0;
PUSH(uint invocations; uint size; uint n; uint inner; uint segments; uint segment;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 2) buffer Stats { vec2 of[]; } stats;
layout(set = 0, binding = 3) readonly buffer Dy { uint words[]; } dy;  // of gradients

float gradient(uint e) { return GRADIENT ? LOAD(dy.words, DTYPE, e) : 0.0; }

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  if (STAGE == JOIN) {
    float most = LOWEST, sum = 0.0, lost = 0.0;
    for (uint k = w * pc.segments; k < (w + 1u) * pc.segments; k++)
      most = greater(most, uintBitsToFloat(x.words[2u * k]));
    for (uint k = w * pc.segments; k < (w + 1u) * pc.segments; k++) {
      const float part = uintBitsToFloat(x.words[2u * k + 1u]);
      add_exactly(sum, lost, GRADIENT ? part : part * exp_of(uintBitsToFloat(x.words[2u * k]), max_or_0(most)));
    }
    stats.of[w] = stats_of(most, sum);
    return;
  }
  if (STAGE != APPLY) {
    const uint lines = pc.size / pc.n, line = STAGE == PARTS ? w % lines : w, part = STAGE == PARTS ? w / lines : 0u;
    const uint base = line / pc.inner * pc.n * pc.inner + line % pc.inner;
    const uint first = base + part * pc.segment * pc.inner,
               end = base + min(pc.n, (part + 1u) * pc.segment) * pc.inner;
    float most = LOWEST, sum = 0.0, lost = 0.0;
    for (uint e = first; e < end; e += pc.inner) most = greater(most, LOAD(x.words, DTYPE, e));
    const float from = max_or_0(most);
    for (uint e = first; e < end; e += pc.inner)
      add_exactly(sum, lost, summand(LOAD(x.words, DTYPE, e), gradient(e), from));
    stats.of[line * pc.segments + part] = STAGE == PARTS ? vec2(most, sum) : stats_of(most, sum);
    return;
  }
  const uint size = KIND == LOGSUMEXP ? pc.size / pc.n : pc.size;
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= size) break;
    const vec2 line = stats.of[KIND == LOGSUMEXP ? e : e / (pc.n * pc.inner) * pc.inner + e % pc.inner];
    const float v = KIND == LOGSUMEXP ? line.x : result(LOAD(x.words, DTYPE, e), gradient(e), line);
    word = insert_bits(word, float_to_bits(v, DTYPE), DTYPE, lane);
  }
  y.words[w] = word;
}
