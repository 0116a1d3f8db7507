#version 450
// x with a constant around it. Axes stand innermost first. Spec constants: 1 dtype, 2 rank.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 8;
PUSH(uint words; uint size; uint value; uint sizes[8]; uint before[8]; uint totals[8];);
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
    uint at = 0u, stride = 1u;
    bool inside = true;
    for (int k = 0; k < RANK; k++) {
      const uint i = e % pc.totals[k] - pc.before[k];  // in front of x it wraps to something large
      e /= pc.totals[k];
      inside = inside && i < pc.sizes[k];
      at += i * stride;
      stride *= pc.sizes[k];
    }
    uint bits = pc.value;
    if (inside) bits = LOAD_BITS(x.words, DTYPE, at);
    word = insert_bits(word, bits, DTYPE, lane);
  }
  y.words[w] = word;
}
