#version 450
// out[i] = x[base + strides . index(i)]: permute and slice. Dims and strides stand innermost first.
// Spec constants: 1 dtype, 2 rank, 3 words to an invocation: software drivers divide slowly, so there an invocation
// finds its place once and counts on from it.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 8;
layout(constant_id = 3) const int RUN = 1;
layout(constant_id = 4) const int VECTORS = 0;  // everything is counted in units of 16 bytes, one to an invocation
PUSH(uint words; uint size; uint origin; uint dims[8]; uint strides[8];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } x4;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 1) writeonly buffer Out4 { uvec4 words[]; } y4;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint first = (GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * uint(RUN);
  if (first >= pc.words) return;
  const uint lanes = VECTORS != 0 ? 1u : per_word(DTYPE), end = min(first + uint(RUN), pc.words);
  uint e = first * lanes, at = pc.origin, rest = e;
  uint index[8];
  [[unroll]] for (int k = 0; k < RANK; k++) {
    index[k] = k == RANK - 1 ? rest : rest % pc.dims[k];
    rest /= pc.dims[k];
    at += index[k] * pc.strides[k];
  }
  if (VECTORS != 0) {
    y4.words[first] = x4.words[at];
    return;
  }
  for (uint w = first; w < end; w++) {
    uint word = 0u;
    for (uint lane = 0u; lane < lanes && e < pc.size; lane++, e++) {
      word = insert_bits(word, LOAD_BITS(x.words, DTYPE, at), DTYPE, lane);
      bool carry = true;
      [[unroll]] for (int k = 0; k < RANK; k++) {
        if (carry) {
          at += pc.strides[k];
          carry = ++index[k] == pc.dims[k];
          if (carry) {
            at -= pc.strides[k] * pc.dims[k];
            index[k] = 0u;
          }
        }
      }
    }
    y.words[w] = word;
  }
}
