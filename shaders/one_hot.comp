#version 450
// Rows of zeros with a one at each id, one invocation to a word. An id out of range leaves zeros and is told in the fault
// words. Spec constant: 1 dtype.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/fault.glsl"
layout(constant_id = 1) const int DTYPE = 0;
PUSH(uint words; uint size; uint depth; uint one;);
layout(set = 0, binding = 0) readonly buffer Ids { uint of[]; } ids;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 2) buffer Fault { uint words[]; } fault;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const uint i = e / pc.depth, id = ids.of[i];
    if (id >= pc.depth) {  // negative ones too
      REPORT_INDEX(fault.words, id, i)
    }
    word = insert_bits(word, id == e - i * pc.depth ? pc.one : 0u, DTYPE, lane);
  }
  y.words[w] = word;
}
