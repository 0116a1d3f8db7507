#version 450
// What the attention gradients need of each query: its log-sum-exp and delta = sum_d dy o, side by side, and where
// scores have sides, the query's after them; then those of the keys. One invocation to a query of a head and to a key of
// one; dy and o are [batch, time, heads, d], sides as lib/attention.glsl says.
#extension GL_GOOGLE_include_directive : require
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const uint D = 64;
layout(constant_id = 3) const bool VECTORS = false;
layout(constant_id = 4) const bool SIDED = false;

PUSH(uint rows; uint times; uint heads; uint keys; uint tk; uint key_heads; uint sides_batch;);

layout(std430, binding = 0) readonly buffer Dy { uint dy_words[]; };
layout(std430, binding = 0) readonly buffer Dy4 { uvec4 dy_quads[]; };
layout(std430, binding = 1) readonly buffer O { uint o_words[]; };
layout(std430, binding = 1) readonly buffer O4 { uvec4 o_quads[]; };
layout(std430, binding = 2) readonly buffer Lse { float lse[]; };
layout(std430, binding = 3) writeonly buffer Rows { vec2 row_stats[]; };
layout(std430, binding = 4) readonly buffer Sides { float sides[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (SIDED && row < pc.keys) {  // by batch entry, head, time
    const uint j = row % pc.tk, head = row / pc.tk % pc.key_heads, b = row / pc.tk / pc.key_heads;
    const uint from = b * pc.sides_batch + pc.times * pc.heads * 2u + j * pc.key_heads + head;
    row_stats[pc.rows * 2u + row] = vec2(sides[from], 0.0);
  }
  if (row >= pc.rows) return;  // as o lies: head fastest
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
  const vec2 stats = vec2(lse[to], delta);
  if (!SIDED) {
    row_stats[to] = stats;
    return;
  }
  const uint side = b * pc.sides_batch + (t * pc.heads + h) * 2u;
  row_stats[to * 2u] = stats;
  row_stats[to * 2u + 1u] = vec2(sides[side], sides[side + 1u]);
}
