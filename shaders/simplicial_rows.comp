#version 450
// What the gradients of simplicial attention need of each query, its log-sum-exp and delta = sum_d dy o side by side, and
// from `mask_at` on the mask as floats: in one buffer, since bindings are few. One invocation to a query of a head and to
// a key; dy and o are [batch, time, heads, d].
#extension GL_GOOGLE_include_directive : require
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;

PUSH(uint rows; uint times; uint heads; uint d; uint keys; uint mask_at;);

layout(std430, binding = 0) readonly buffer Dy { uint dy_words[]; };
layout(std430, binding = 1) readonly buffer O { uint o_words[]; };
layout(std430, binding = 2) readonly buffer Lse { float lse[]; };
layout(std430, binding = 3) readonly buffer Mask { uint mask_words[]; };
layout(std430, binding = 4) writeonly buffer Rows { float row_stats[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint n = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (n < pc.keys) row_stats[pc.mask_at + n] = LOAD_BITS(mask_words, BOOL, n) != 0u ? 1.0 : 0.0;
  if (n >= pc.rows) return;  // as o lies: head fastest
  const uint h = n % pc.heads, t = n / pc.heads % pc.times, b = n / pc.heads / pc.times;
  const uint to = (b * pc.heads + h) * pc.times + t;
  float delta = 0.0;
  for (uint d = n * pc.d; d < (n + 1u) * pc.d; ++d) delta += LOAD(dy_words, DTYPE, d) * LOAD(o_words, DTYPE, d);
  row_stats[2u * to] = lse[to];
  row_stats[2u * to + 1u] = delta;
}
