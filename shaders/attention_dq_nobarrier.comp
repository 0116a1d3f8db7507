#version 450
// dq_i = sum_j dS_ij slope k_j with dS = P (dy_i . v_j - delta_i), P = exp(S - lse): laid out as
// attention_nobarrier.comp, ROWS queries an invocation.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"

layout(constant_id = 8) const uint ROWS = 4;

layout(std430, binding = 6) writeonly buffer Dq { uint dq_words[]; };

#include "lib/attention_rows.glsl"

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;
  const uint mask = mask_at(b, h);

  float q[ROWS][D], dy[ROWS][D], dq[ROWS][D];
  vec2 stats[ROWS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint i = min(first + r, pc.tq - 1u);
    READ_ROW(q[r], q, pc.q_at + (b * pc.tq + i) * pc.q_row + h * D)
    READ_ROW(dy[r], dy, ((b * pc.tq + i) * pc.heads + h) * D)
    stats[r] = row_stats[line * pc.tq + i];
    [[unroll]] for (uint d = 0; d < D; ++d) dq[r][d] = 0.0;
  }

  const uint end = end_key(min(first + ROWS, pc.tq) - 1u), head = h / pc.group * D;
  for (uint j = first_key(first); j < end; ++j) {
    float k[D], v[D];
    READ_ROW(k, k, pc.k_at + (b * pc.tk + j) * pc.k_row + head)
    READ_ROW(v, v, pc.v_at + (b * pc.tk + j) * pc.v_row + head)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint i = min(first + r, pc.tq - 1u);
      float product = 0.0, dp = 0.0;
      [[unroll]] for (uint d = 0; d < D; ++d) product += q[r][d] * k[d];
      [[unroll]] for (uint d = 0; d < D; ++d) dp += dy[r][d] * v[d];
      const float p = sees(i, j) ? weight_of(masked(score_of(product), mask, i, j), stats[r].x) : 0.0;
      const float ds = p == 0.0 ? 0.0 : p * (dp - stats[r].y) * score_slope(product);
      [[unroll]] for (uint d = 0; d < D; ++d) dq[r][d] += ds * k[d];
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint i = min(first + r, pc.tq - 1u);
    WRITE_ROW(dq_words, pc.dq_at + (b * pc.tq + i) * pc.dq_row + h * D, dq[r], 1.0)
  }
}
