#version 450
// Sums of the columns of [rows, columns]: an invocation to a column and a segment of rows leaves its sum in scratch,
// [segments, columns]; then one to a word of output adds the segments.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/sum.glsl"

const int PARTS = 0, JOIN = 1;  // = src/ops/linear-backward.gpu.ts
layout(constant_id = 1) const int IN = 0;
layout(constant_id = 2) const int OUT = 0;
layout(constant_id = 3) const int STAGE = 0;
PUSH(uint invocations; uint columns; uint rows; uint segment;);
layout(set = 0, binding = 0) readonly buffer From { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer To { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  float sum = 0.0, lost = 0.0;
  if (STAGE == PARTS) {
    const uint column = w % pc.columns, first = w / pc.columns * pc.segment;
    for (uint r = first; r < min(pc.rows, first + pc.segment); r++)
      add_exactly(sum, lost, LOAD(x.words, IN, r * pc.columns + column));
    y.words[w] = floatBitsToUint(sum);
    return;
  }
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(OUT); lane++) {
    const uint column = w * per_word(OUT) + lane;
    if (column >= pc.columns) break;
    sum = 0.0;
    lost = 0.0;
    for (uint s = 0u; s < pc.rows; s++)
      add_exactly(sum, lost, uintBitsToFloat(x.words[s * pc.columns + column]));
    word = insert_bits(word, float_to_bits(sum, OUT), OUT, lane);
  }
  y.words[w] = word;
}
