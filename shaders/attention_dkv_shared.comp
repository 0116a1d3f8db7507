#version 450
// dv_j = sum_i P_ij dy_i, dk_j = sum_i dS_ij slope q_i and the gradient of the key's side, over the queries i of all
// heads that key j serves: a group makes a tile of keys, queries are its columns.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_tiles.glsl"

layout(std430, binding = 6) writeonly buffer Dk { uint dk_words[]; };
layout(std430, binding = 7) writeonly buffer Dv { uint dv_words[]; };

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const uint line = group % pc.lines, key_heads = pc.heads / pc.group, b = line / key_heads, head = line % key_heads;
  const uint row0 = group / pc.lines * BR;  // the longest causal sweeps start first
  const uint queries = pc.lines * pc.group * pc.tq, rows = min(BR, pc.tk - row0);
  const Strip k = Strip(pc.k_at + b * pc.k_batch + row0 * pc.k_row + head * pc.d, pc.k_row, rows);
  const Strip v = Strip(pc.v_at + b * pc.k_batch + row0 * pc.v_row + head * pc.d, pc.v_row, rows);

  float dk[TM][TD], dv[TM][TD], dside[TM];
  vec3 k_side[TM];
  [[unroll]] for (uint i = 0; i < TM; ++i) {
    [[unroll]] for (uint n = 0; n < TD; ++n) dk[i][n] = dv[i][n] = 0.0;
    k_side[i] = key_side(queries, b, head, row0 + min(row_of(i), rows - 1u));
    dside[i] = 0.0;
  }

  const uint begin = first_query(row0), end = end_query(row0 + rows - 1u);
  for (uint h = head * pc.group; h < (head + 1u) * pc.group; ++h) {
    const Bias bias = bias_of(b, h);
    for (uint column0 = begin; column0 < end; column0 += BC) {
      const uint columns = end - column0;
      const Strip q = Strip(pc.q_at + (b * pc.tq + column0) * pc.q_row + h * PARTS * pc.d, pc.q_row, columns);
      const Strip dy = Strip(((b * pc.tq + column0) * pc.heads + h) * pc.d, pc.heads * pc.d, columns);
      vec2 stats[TN];
      vec4 q_side[TN];
      [[unroll]] for (uint j = 0; j < TN; ++j) {
        stats[j] = column_of(j) < columns ? stats_of(b, h, column0 + column_of(j)) : vec2(LOWEST, 0.0);
        q_side[j] = query_side(b, h, column0 + min(column_of(j), columns - 1u));
      }
      float s[TM][TN], t[TM][TN], dp[TM][TN];
      TILE_PRODUCT(s, IS_K, k, IS_Q, q)
      if (PARTS == 2u) TILE_PRODUCT(t, IS_K, k, IS_Q, second(q))
      TILE_PRODUCT(dp, IS_V, v, IS_DY, dy)
      [[unroll]] for (uint i = 0; i < TM; ++i) {
        const uint row = row0 + row_of(i);
        [[unroll]] for (uint j = 0; j < TN; ++j) {
          const uint column = column0 + column_of(j);
          const bool seen = column < end && sees(column, row);
          const vec2 x = PRODUCTS(s[i][j], t[i][j]);
          const float score = score_of(x, q_side[j], k_side[i]);
          const float p = seen ? weight_of(biased(score, bias, column, row), stats[j].x) : 0.0;
          const Slopes by = pulled(p, dp[i][j] - stats[j].y, x, q_side[j], k_side[i]);
          dp[i][j] = by.products.x;
          if (PARTS == 2u) t[i][j] = by.products.y;
          if (SIDED) dside[i] += by.key;
          s[i][j] = p;
        }
      }
      barrier();
      STORE_WEIGHTS(s)
      TILE_SUM(dv, IS_DY, dy)
      barrier();
      STORE_WEIGHTS(dp)
      TILE_SUM(dk, IS_Q, q)
      if (PARTS == 2u) {
        barrier();
        STORE_WEIGHTS(t)
        TILE_SUM(dk, IS_Q, second(q))
      }
    }
  }
  const Strip to_k = Strip(pc.dk_at + (b * pc.tk + row0) * pc.dk_row + head * pc.d, pc.dk_row, rows);
  WRITE_TILE(dk_words, dk, to_k, 1.0)
  const Strip to_v = Strip(pc.dv_at + (b * pc.tk + row0) * pc.dv_row + head * pc.d, pc.dv_row, rows);
  WRITE_TILE(dv_words, dv, to_v, 1.0)
  if (SIDED) {
    SUM_ROWS(dside)
    [[unroll]] for (uint i = 0; i < TM; ++i)
      if (thread_x() == 0u && row_of(i) < rows)
        row_stats[key_side_at(queries, b, head, row0 + row_of(i))].y = dside[i];
  }
}
