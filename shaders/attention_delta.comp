#version 450
// What the attention gradients need of each query: its log-sum-exp and delta = sum_d dy o, side by side.
// One invocation to a query of a head; d y and o are [batch, time, heads, d].
#extension GL_GOOGLE_include_directive : require
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const uint D = 64;
layout(constant_id = 3) const bool VECTORS = false;

PUSH(uint rows; uint times; uint heads;);

layout(std430, binding = 0) readonly buffer Dy { uint dy_words[]; };
layout(std430, binding = 0) readonly buffer Dy4 { uvec4 dy_quads[]; };
layout(std430, binding = 1) readonly buffer O { uint o_words[]; };
layout(std430, binding = 1) readonly buffer O4 { uvec4 o_quads[]; };
layout(std430, binding = 2) readonly buffer Lse { float lse[]; };
layout(std430, binding = 3) writeonly buffer Rows { vec2 row_stats[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;  // as o lies: head fastest
  if (row >= pc.rows) return;
  const uint h = row % pc.heads, t = row / pc.heads % pc.times, b = row / pc.heads / pc.times;
  const uint to = (b * pc.heads + h) * pc.times + t, at = row * D;
  float delta = 0.0;
  if (VECTORS) {
    for (uint d = 0; d < D; d += 4u * per_word(DTYPE)) {
      const uint i = (at + d) / (4u * per_word(DTYPE));
      const uvec4 u = dy_quads[i], v = o_quads[i];
      [[unroll]] for (uint c = 0; c < 4u; ++c)
        [[unroll]] for (uint lane = 0; lane < per_word(DTYPE); ++lane)
          delta += bits_to_float(extract_bits(u[c], DTYPE, lane), DTYPE) *
                   bits_to_float(extract_bits(v[c], DTYPE, lane), DTYPE);
    }
  } else {
    for (uint d = 0; d < D; ++d) delta += LOAD(dy_words, DTYPE, at + d) * LOAD(o_words, DTYPE, at + d);
  }
  row_stats[to] = vec2(lse[to], delta);
}
