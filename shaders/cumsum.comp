#version 450
// Running sums along an axis of [outer, n, inner], one invocation to a segment of a line. Spec constants: 1 dtype,
// 2 stage, 3 lines are cut into segments. Stages: sum of each segment; sums before each; scan; float32 to halves.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/sum.glsl"
const int TOTALS = 0, OFFSETS = 1, SCAN = 2, PACK = 3;  // = src/ops/cumsum.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int STAGE = 0;
layout(constant_id = 3) const int CUT = 0;
PUSH(uint invocations; uint size; uint n; uint inner; uint segments; uint segment;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) buffer Offsets { uint words[]; } offsets;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } y;

struct Sum {
  float value, lost;
  uint word;
};

void add(inout Sum s, uint bits) {  // of an element
  if (DTYPE == I32) s.word += bits;
  else add_exactly(s.value, s.lost, bits_to_float(bits, DTYPE));
}
void add_sum(inout Sum s, uint bits) {  // of a sum in scratch
  if (DTYPE == I32) s.word += bits;
  else add_exactly(s.value, s.lost, uintBitsToFloat(bits));
}
uint bits(Sum s) { return DTYPE == I32 ? s.word : floatBitsToUint(s.value); }

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  Sum s = Sum(0.0, 0.0, 0u);
  if (STAGE == PACK) {
    uint word = 0u;
    for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
      const uint e = w * per_word(DTYPE) + lane;
      if (e < pc.size) word = insert_bits(word, float_to_bits(uintBitsToFloat(x.words[e]), DTYPE), DTYPE, lane);
    }
    y.words[w] = word;
    return;
  }
  const uint lines = pc.size / pc.n;
  if (STAGE == OFFSETS) {
    for (uint k = 0u; k < pc.segments; k++) {
      const uint own = offsets.words[w * pc.segments + k];
      offsets.words[w * pc.segments + k] = bits(s);
      add_sum(s, own);
    }
    return;
  }
  const uint line = w % lines, part = w / lines;
  const uint first = part * pc.segment, last = min(pc.n, first + pc.segment);
  const uint base = line / pc.inner * pc.n * pc.inner + line % pc.inner;
  if (STAGE == TOTALS) {
    for (uint k = first; k < last; k++) add(s, LOAD_BITS(x.words, DTYPE, base + k * pc.inner));
    offsets.words[line * pc.segments + part] = bits(s);
    return;
  }
  if (CUT != 0) add_sum(s, offsets.words[line * pc.segments + part]);
  for (uint k = first; k < last; k++) {
    const uint e = base + k * pc.inner;
    add(s, LOAD_BITS(x.words, DTYPE, e));
    y.words[e] = bits(s);
  }
}
