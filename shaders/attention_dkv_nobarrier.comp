#version 450
// dv_j = sum_i P_ij dy_i, dk_j = sum_i dS_ij slope q_i and the gradient of the key's side, over the queries i of all
// heads that key j serves: laid out as attention_nobarrier.comp with the two changed, ROWS keys an invocation.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_rows.glsl"

layout(std430, binding = 6) writeonly buffer Dk { uint dk_words[]; };
layout(std430, binding = 7) writeonly buffer Dv { uint dv_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, key_heads = pc.heads / pc.group, b = line / key_heads, head = line % key_heads;
  const uint first = unit / pc.lines * ROWS;  // the longest causal sweeps start first

  const uint queries = pc.lines * pc.group * pc.tq;

  vec4 dk[ROWS * QUADS], dv[ROWS * QUADS];
  vec3 k_side[ROWS];
  float dside[ROWS];
  uint key[ROWS], k_row[ROWS], v_row[ROWS];
  CLEAR_ROWS(dk, ROWS)
  CLEAR_ROWS(dv, ROWS)
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    key[r] = min(first + r, pc.tk - 1u);
    k_row[r] = pc.k_at + b * pc.k_batch + key[r] * pc.k_row + head * pc.d;
    v_row[r] = pc.v_at + b * pc.k_batch + key[r] * pc.v_row + head * pc.d;
    k_side[r] = key_side(queries, b, head, key[r]);
    dside[r] = 0.0;
  }

  const uint begin = first_query(first), end = end_query(key[ROWS - 1u]);
  for (uint h = head * pc.group; h < (head + 1u) * pc.group; ++h) {
    const Bias bias = bias_of(b, h);
    for (uint i0 = begin; i0 < end; i0 += COLUMNS) {
      uint q_row[COLUMNS], dy_row[COLUMNS];
      vec2 stats[COLUMNS];
      vec4 q_side[COLUMNS];
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const uint i = min(i0 + c, end - 1u);
        q_row[c] = pc.q_at + (b * pc.tq + i) * pc.q_row + h * PARTS * pc.d;
        dy_row[c] = ((b * pc.tq + i) * pc.heads + h) * pc.d;
        stats[c] = stats_of(b, h, i);
        q_side[c] = query_side(b, h, i);
      }
      float s[ROWS][COLUMNS], t[ROWS][COLUMNS], dp[ROWS][COLUMNS];
      ROW_PRODUCT(s, k, k_row, 0u, q, q_row, 0u)
      if (PARTS == 2u) ROW_PRODUCT(t, k, k_row, 0u, q, q_row, pc.d)
      ROW_PRODUCT(dp, v, v_row, 0u, dy, dy_row, 0u)
      [[unroll]] for (uint r = 0; r < ROWS; ++r) {
        const uint from = first_query(key[r]), to = end_query(key[r]);
        [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
          const uint i = i0 + c;
          const bool seen = i >= from && i < to;
          const vec2 x = PRODUCTS(s[r][c], t[r][c]);
          const float plain = score_of(x, q_side[c], k_side[r]);
          const float score = biased(plain, bias, min(i, end - 1u), key[r]);
          const float p = seen ? weight_of(score, stats[c].x) : 0.0;
          const Slopes by = pulled(p, dp[r][c] - stats[c].y, x, q_side[c], k_side[r]);
          dp[r][c] = by.products.x;
          if (PARTS == 2u) t[r][c] = by.products.y;
          if (SIDED) dside[r] += by.key;
          s[r][c] = p;
        }
      }
      ROW_SUM(dv, 0u, 1.0, s, dy, dy_row, 0u)
      ROW_SUM(dk, 0u, 1.0, dp, q, q_row, 0u)
      if (PARTS == 2u) ROW_SUM(dk, 0u, 1.0, t, q, q_row, pc.d)
    }
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    WRITE_ROW(dk_words, pc.dk_at + (b * pc.tk + key[r]) * pc.dk_row + head * pc.d, dk, r, 1.0)
    WRITE_ROW(dv_words, pc.dv_at + (b * pc.tk + key[r]) * pc.dv_row + head * pc.d, dv, r, 1.0)
    if (SIDED) row_stats[key_side_at(queries, b, head, key[r])].y = dside[r];
  }
}
