#version 450
// dq_i = sum_j dS_ij slope k_j with dS = P (dy_i . v_j - delta_i), P = exp(S - lse): laid out as
// attention_nobarrier.comp, ROWS queries an invocation.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_rows.glsl"

layout(std430, binding = 6) writeonly buffer Dq { uint dq_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads, head = h / pc.group * pc.d;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;
  const uint mask = mask_at(b, h);

  vec4 dq[ROWS * QUADS];
  vec2 stats[ROWS];
  uint query[ROWS], q_row[ROWS], dy_row[ROWS];
  CLEAR_ROWS(dq)
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    query[r] = min(first + r, pc.tq - 1u);
    q_row[r] = pc.q_at + (b * pc.tq + query[r]) * pc.q_row + h * pc.d;
    dy_row[r] = ((b * pc.tq + query[r]) * pc.heads + h) * pc.d;
    stats[r] = row_stats[line * pc.tq + query[r]];
  }

  const uint end = end_key(query[ROWS - 1u]);
  for (uint j0 = first_key(first); j0 < end; j0 += COLUMNS) {
    uint k_row[COLUMNS], v_row[COLUMNS];
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
      const uint j = b * pc.tk + min(j0 + c, end - 1u);
      k_row[c] = pc.k_at + j * pc.k_row + head;
      v_row[c] = pc.v_at + j * pc.v_row + head;
    }
    float s[ROWS][COLUMNS], dp[ROWS][COLUMNS];
    ROW_PRODUCT(s, q, q_row, k, k_row)
    ROW_PRODUCT(dp, dy, dy_row, v, v_row)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint from = first_key(query[r]), to = end_key(query[r]);
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const uint j = j0 + c;
        const bool seen = j >= from && j < to;
        const float score = masked(score_of(s[r][c]), mask, query[r], min(j, end - 1u));
        const float p = seen ? weight_of(score, stats[r].x) : 0.0;
        s[r][c] = p == 0.0 ? 0.0 : p * (dp[r][c] - stats[r].y) * score_slope(s[r][c]);
      }
    }
    ROW_SUM(dq, 1.0, s, k, k_row)
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r)
    WRITE_ROW(dq_words, pc.dq_at + (b * pc.tq + query[r]) * pc.dq_row + h * pc.d, dq, r, 1.0)
}
