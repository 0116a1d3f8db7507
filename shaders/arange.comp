#version 450
// y[i] = start + i step: exactly in int32; in floats from parts whose products are exact, summed without loss, so
// that it equals the CPU's float64 to the last bit or so. Plan: src/ops/arange.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;
// int32: start and step as they are. Floats: start in two parts, step in three of 12 bits.
PUSH(uint words; uint start_high; uint start_low; uint step_high; uint step_middle; uint step_low;);
layout(set = 0, binding = 0) writeonly buffer Y { uint y[]; };

// high + low = a + b + low, nothing lost (Knuth's two-sum).
void accumulate(inout float high, inout float low, float x) {
  precise const float sum = high + x;
  precise const float part = sum - high;
  precise const float lost = (high - (sum - part)) + (x - part);
  high = sum;
  precise const float rest = low + lost;
  low = rest;
}

uint element(uint i) {
  if (DTYPE == I32) return pc.start_high + i * pc.start_low;
  const float upper = float(i & 0xfffff000u), lower = float(i & 0xfffu);
  const float high_part = uintBitsToFloat(pc.step_high), middle = uintBitsToFloat(pc.step_middle);
  float high = uintBitsToFloat(pc.start_high), low = uintBitsToFloat(pc.start_low);
  accumulate(high, low, upper * high_part);
  accumulate(high, low, lower * high_part);
  accumulate(high, low, upper * middle);
  accumulate(high, low, lower * middle);
  accumulate(high, low, float(i) * uintBitsToFloat(pc.step_low));
  return float_to_bits(high + low, DTYPE);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint word = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x, lanes = per_word(DTYPE);
  if (word >= pc.words) return;
  uint made = 0u;
  for (uint lane = 0u; lane < lanes; lane++) made = insert_bits(made, element(word * lanes + lane), DTYPE, lane);
  y[word] = made;
}
