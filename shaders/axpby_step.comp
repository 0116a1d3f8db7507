#version 450
// z = a x + b y, four elements to an invocation: src/ops/muon.ts. Spec constant 1: dtype.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
PUSH(uint units; float a; float b;);
layout(set = 0, binding = 0) readonly buffer X { uint words[]; } x;
layout(set = 0, binding = 1) readonly buffer Y { uint words[]; } y;
layout(set = 0, binding = 2) writeonly buffer Z { uint words[]; } z;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  const uint words = 4u / per_word(DTYPE);
  for (uint w = unit * words; w < (unit + 1u) * words; w++) {
    uint word = 0u;
    for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
      const float u = bits_to_float(extract_bits(x.words[w], DTYPE, lane), DTYPE);
      const float v = bits_to_float(extract_bits(y.words[w], DTYPE, lane), DTYPE);
      word = insert_bits(word, float_to_bits(pc.a * u + pc.b * v, DTYPE), DTYPE, lane);
    }
    z.words[w] = word;
  }
}
