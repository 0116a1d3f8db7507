#version 450
// x where column - row <= diagonal (UPPER: >=), 0 elsewhere; one invocation to a word. Spec constants: 1 dtype, 2 upper.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int UPPER = 0;
PUSH(uint words; uint size; uint rows; uint columns; int diagonal;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  const uint word = x.words[w];
  uint made = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const uint all = e / pc.columns;
    const int row = int(all % pc.rows), column = int(e - all * pc.columns);
    const int apart = column - row;
    if (UPPER != 0 ? apart >= pc.diagonal : apart <= pc.diagonal)
      made = insert_bits(made, extract_bits(word, DTYPE, lane), DTYPE, lane);
  }
  y.words[w] = made;
}
