#version 450
// Decays as factors, a = exp(decay); q decayed since its chunk began, its own factor included; k decayed until its chunk
// ends; and the product of all factors of a chunk. An invocation to a channel of a chunk.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
#include "lib/math.glsl"
layout(std430, binding = 0) readonly buffer Decay { float decay[]; };
layout(std430, binding = 1) readonly buffer Q { uint q_words[]; };
layout(std430, binding = 2) readonly buffer K { uint k_words[]; };
layout(std430, binding = 3) buffer Factors { float a[]; };
layout(std430, binding = 4) writeonly buffer Qd { float q_decayed[]; };
layout(std430, binding = 5) writeonly buffer Kd { float k_decayed[]; };
layout(std430, binding = 6) writeonly buffer All { float all[]; };  // [batch, heads, chunks, dk]

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint i = unit % pc.dk, h = unit / pc.dk % pc.heads, rest = unit / pc.dk / pc.heads;
  const uint chunk = rest % pc.chunks, line = rest / pc.chunks * pc.heads + h;
  const uint begin = chunk * pc.chunk, end = min(begin + pc.chunk, pc.t);
  float product = 1.0;
  for (uint t = begin; t < end; ++t) {
    const uint at = row_of(line, t) * pc.dk + i;
    const float factor = exp_safe(decay[at]);
    a[at] = factor;
    product *= factor;
    q_decayed[at] = LOAD(q_words, DTYPE, at) * product;
  }
  all[state_row(line, chunk, i)] = product;
  product = 1.0;
  for (uint t = end; t-- > begin;) {
    const uint at = row_of(line, t) * pc.dk + i;
    k_decayed[at] = LOAD(k_words, DTYPE, at) * product;
    product *= a[at];
  }
}
