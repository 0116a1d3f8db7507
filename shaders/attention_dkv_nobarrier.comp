#version 450
// dv_j = sum_i P_ij dy_i and dk_j = sum_i dS_ij slope q_i over the queries i of all heads that key j serves: laid out
// as attention_nobarrier.comp with the sides changed, ROWS keys an invocation.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"

layout(constant_id = 8) const uint ROWS = 4;

layout(std430, binding = 6) writeonly buffer Dk { uint dk_words[]; };
layout(std430, binding = 7) writeonly buffer Dv { uint dv_words[]; };

#include "lib/attention_rows.glsl"

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, key_heads = pc.heads / pc.group, b = line / key_heads, head = line % key_heads;
  const uint first = unit / pc.lines * ROWS;  // the longest causal sweeps start first

  float k[ROWS][D], v[ROWS][D], dk[ROWS][D], dv[ROWS][D];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint j = min(first + r, pc.tk - 1u);
    READ_ROW(k[r], k, pc.k_at + (b * pc.tk + j) * pc.k_row + head * D)
    READ_ROW(v[r], v, pc.v_at + (b * pc.tk + j) * pc.v_row + head * D)
    [[unroll]] for (uint d = 0; d < D; ++d) dk[r][d] = dv[r][d] = 0.0;
  }

  const uint begin = first_query(first), end = end_query(min(first + ROWS, pc.tk) - 1u);
  for (uint h = head * pc.group; h < (head + 1u) * pc.group; ++h) {
    const uint mask = mask_at(b, h);
    for (uint i = begin; i < end; ++i) {
      float q[D], dy[D];
      READ_ROW(q, q, pc.q_at + (b * pc.tq + i) * pc.q_row + h * D)
      READ_ROW(dy, dy, ((b * pc.tq + i) * pc.heads + h) * D)
      const vec2 stats = row_stats[(b * pc.heads + h) * pc.tq + i];
      [[unroll]] for (uint r = 0; r < ROWS; ++r) {
        const uint j = min(first + r, pc.tk - 1u);
        float product = 0.0, dp = 0.0;
        [[unroll]] for (uint d = 0; d < D; ++d) product += q[d] * k[r][d];
        [[unroll]] for (uint d = 0; d < D; ++d) dp += dy[d] * v[r][d];
        const float p = sees(i, j) ? weight_of(masked(score_of(product), mask, i, j), stats.x) : 0.0;
        const float ds = p == 0.0 ? 0.0 : p * (dp - stats.y) * score_slope(product);
        [[unroll]] for (uint d = 0; d < D; ++d) {
          dv[r][d] += p * dy[d];
          dk[r][d] += ds * q[d];
        }
      }
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint j = min(first + r, pc.tk - 1u);
    WRITE_ROW(dk_words, pc.dk_at + (b * pc.tk + j) * pc.dk_row + head * D, dk[r], 1.0)
    WRITE_ROW(dv_words, pc.dv_at + (b * pc.tk + j) * pc.dv_row + head * D, dv[r], 1.0)
  }
}
