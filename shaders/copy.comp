#version 450
// out[i] = x[base + strides . index(i)]: permute and slice. Dims and strides stand innermost first.
// Spec constants: 1 dtype, 2 rank.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 8;
PUSH(uint words; uint size; uint origin; uint dims[8]; uint strides[8];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    uint at = pc.origin;
    for (int k = 0; k < RANK - 1; k++) {
      at += e % pc.dims[k] * pc.strides[k];
      e /= pc.dims[k];
    }
    at += e * pc.strides[RANK - 1];
    word = insert_bits(word, LOAD_BITS(x.words, DTYPE, at), DTYPE, lane);
  }
  y.words[w] = word;
}
