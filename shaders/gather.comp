#version 450
// out[i] = x[.., index[i], ..]: the index's axes with x's strides along them, innermost first, 0 along the gathered
// axis. An index out of range yields 0 and is left in the fault words. Spec constants: 1 dtype, 2 rank.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/fault.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 8;
PUSH(uint words; uint size; uint axis_size; uint axis_stride; uint dims[8]; uint strides[8];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) readonly buffer Index { uint words[]; } index;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 3) buffer Fault { uint words[]; } fault;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const uint k = index.words[e];
    if (k >= pc.axis_size) {  // negative ones too
      REPORT_INDEX(fault.words, k, e)
      continue;
    }
    uint at = k * pc.axis_stride;
    for (int a = 0; a < RANK - 1; a++) {
      at += e % pc.dims[a] * pc.strides[a];
      e /= pc.dims[a];
    }
    at += e * pc.strides[RANK - 1];
    word = insert_bits(word, LOAD_BITS(x.words, DTYPE, at), DTYPE, lane);
  }
  y.words[w] = word;
}
