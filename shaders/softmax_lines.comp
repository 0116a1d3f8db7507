#version 450
// Softmax along any axis of [outer, n, inner]. Stage 0: one invocation to a line leaves {max, 1 / sum} in scratch;
// stage 1: one invocation to a word of output. Spec constants: 1 dtype, 2 stage.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/softmax.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int STAGE = 0;
PUSH(uint invocations; uint size; uint n; uint inner;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 2) buffer Lines { vec2 of[]; } lines;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  if (STAGE == 0) {
    const uint first = w / pc.inner * pc.n * pc.inner + w % pc.inner;
    float most = LOWEST;
    for (uint k = 0u; k < pc.n; k++) most = greater(most, LOAD(x.words, DTYPE, first + k * pc.inner));
    most = max_or_0(most);
    float sum = 0.0, lost = 0.0;
    for (uint k = 0u; k < pc.n; k++)
      add_exactly(sum, lost, exp_below(LOAD(x.words, DTYPE, first + k * pc.inner), most));
    lines.of[w] = vec2(most, inverse(sum));
    return;
  }
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const vec2 line = lines.of[e / (pc.n * pc.inner) * pc.inner + e % pc.inner];
    const float v = exp_below(LOAD(x.words, DTYPE, e), line.x) * line.y;
    word = insert_bits(word, float_to_bits(v, DTYPE), DTYPE, lane);
  }
  y.words[w] = word;
}
