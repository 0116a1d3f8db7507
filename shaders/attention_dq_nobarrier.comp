#version 450
// dq_i = sum_j dS_ij slope k_j with dS = P (dy_i . v_j - delta_i), P = exp(S - lse), and the gradients of the query's
// sides: laid out as attention_nobarrier.comp, ROWS queries an invocation.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_rows.glsl"

layout(std430, binding = 6) writeonly buffer Dq { uint dq_words[]; };
layout(std430, binding = 7) writeonly buffer DSides { float dsides[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads, head = h / pc.group;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;
  const uint queries = pc.lines * pc.tq;
  const Bias bias = bias_of(b, h);

  vec4 dq[PARTS * ROWS * QUADS], q_side[ROWS];
  vec2 stats[ROWS], dside[ROWS];
  uint query[ROWS], q_row[ROWS], dy_row[ROWS];
  CLEAR_ROWS(dq, PARTS * ROWS)
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    query[r] = min(first + r, pc.tq - 1u);
    q_row[r] = pc.q_at + (b * pc.tq + query[r]) * pc.q_row + h * PARTS * pc.d;
    dy_row[r] = ((b * pc.tq + query[r]) * pc.heads + h) * pc.d;
    stats[r] = stats_of(b, h, query[r]);
    q_side[r] = query_side(b, h, query[r]);
    dside[r] = vec2(0.0);
  }

  const uint end = end_key(query[ROWS - 1u]);
  for (uint j0 = first_key(first); j0 < end; j0 += COLUMNS) {
    uint k_row[COLUMNS], v_row[COLUMNS];
    vec3 k_side[COLUMNS];
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
      const uint j = min(j0 + c, end - 1u);
      k_row[c] = pc.k_at + b * pc.k_batch + j * pc.k_row + head * pc.d;
      v_row[c] = pc.v_at + b * pc.k_batch + j * pc.v_row + head * pc.d;
      k_side[c] = key_side(queries, b, head, j);
    }
    float s[ROWS][COLUMNS], t[ROWS][COLUMNS], dp[ROWS][COLUMNS];
    ROW_PRODUCT(s, q, q_row, 0u, k, k_row, 0u)
    if (PARTS == 2u) ROW_PRODUCT(t, q, q_row, pc.d, k, k_row, 0u)
    ROW_PRODUCT(dp, dy, dy_row, 0u, v, v_row, 0u)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint from = first_key(query[r]), to = end_key(query[r]);
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const uint j = j0 + c;
        const bool seen = j >= from && j < to;
        const vec2 x = PRODUCTS(s[r][c], t[r][c]);
        const float score = biased(score_of(x, q_side[r], k_side[c]), bias, query[r], min(j, end - 1u));
        const float p = seen ? weight_of(score, stats[r].x) : 0.0;
        const Slopes by = pulled(p, dp[r][c] - stats[r].y, x, q_side[r], k_side[c]);
        s[r][c] = by.products.x;
        if (PARTS == 2u) t[r][c] = by.products.y;
        if (SIDED) dside[r] += by.query;
      }
    }
    ROW_SUM(dq, 0u, 1.0, s, k, k_row, 0u)
    if (PARTS == 2u) ROW_SUM(dq, ROWS, 1.0, t, k, k_row, 0u)
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    [[unroll]] for (uint part = 0; part < PARTS; ++part) {
      const uint at = pc.dq_at + (b * pc.tq + query[r]) * pc.dq_row + (h * PARTS + part) * pc.d;
      WRITE_ROW(dq_words, at, dq, part * ROWS + r, 1.0)
    }
    if (SIDED) {
      const uint at = query_side_at(b, h, query[r]);
      dsides[at] = dside[r].x;
      dsides[at + 1u] = dside[r].y;
    }
  }
}
