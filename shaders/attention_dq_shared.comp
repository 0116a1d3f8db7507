#version 450
// dq_i = sum_j dS_ij slope k_j with dS = P (dy_i . v_j - delta_i), P = exp(S - lse), and the gradients of the query's
// sides: a group makes a tile of queries of one head.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_tiles.glsl"

layout(std430, binding = 6) writeonly buffer Dq { uint dq_words[]; };
layout(std430, binding = 7) writeonly buffer DSides { float dsides[]; };

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const uint line = group % pc.lines, b = line / pc.heads, h = line % pc.heads;
  const uint row0 = (pc.blocks - 1u - group / pc.lines) * BR;
  const uint rows = min(BR, pc.tq - row0), head = h / pc.group;
  const uint queries = pc.lines * pc.tq;
  const Bias bias = bias_of(b, h);
  const Strip q = Strip(pc.q_at + (b * pc.tq + row0) * pc.q_row + h * PARTS * pc.d, pc.q_row, rows);
  const Strip dy = Strip(((b * pc.tq + row0) * pc.heads + h) * pc.d, pc.heads * pc.d, rows);

  float sums[TM][TD], more[TM][TD], dside[TM], dside2[TM];
  vec2 stats[TM];
  vec4 q_side[TM];
  [[unroll]] for (uint i = 0; i < TM; ++i) {
    [[unroll]] for (uint n = 0; n < TD; ++n) sums[i][n] = more[i][n] = 0.0;
    stats[i] = row_of(i) < rows ? stats_of(b, h, row0 + row_of(i)) : vec2(LOWEST, 0.0);
    q_side[i] = query_side(b, h, row0 + min(row_of(i), rows - 1u));
    dside[i] = dside2[i] = 0.0;
  }

  const uint end = end_key(row0 + rows - 1u);
  for (uint column0 = first_key(row0); column0 < end; column0 += BC) {
    const uint columns = end - column0;
    const Strip k = Strip(pc.k_at + b * pc.k_batch + column0 * pc.k_row + head * pc.d, pc.k_row, columns);
    const Strip v = Strip(pc.v_at + b * pc.k_batch + column0 * pc.v_row + head * pc.d, pc.v_row, columns);
    vec3 k_side[TN];
    [[unroll]] for (uint j = 0; j < TN; ++j)
      k_side[j] = key_side(queries, b, head, column0 + min(column_of(j), columns - 1u));
    float s[TM][TN], t[TM][TN], dp[TM][TN];
    TILE_PRODUCT(s, IS_Q, q, IS_K, k)
    if (PARTS == 2u) TILE_PRODUCT(t, IS_Q, second(q), IS_K, k)
    TILE_PRODUCT(dp, IS_DY, dy, IS_V, v)
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      const uint row = row0 + row_of(i);
      [[unroll]] for (uint j = 0; j < TN; ++j) {
        const uint column = column0 + column_of(j);
        const bool seen = row < pc.tq && sees(row, column);
        const vec2 x = PRODUCTS(s[i][j], t[i][j]);
        const float score = score_of(x, q_side[i], k_side[j]);
        const float p = seen ? weight_of(biased(score, bias, row, column), stats[i].x) : 0.0;
        const Slopes by = pulled(p, dp[i][j] - stats[i].y, x, q_side[i], k_side[j]);
        s[i][j] = by.products.x;
        if (PARTS == 2u) t[i][j] = by.products.y;
        if (SIDED) {
          dside[i] += by.query.x;
          dside2[i] += by.query.y;
        }
      }
    }
    barrier();
    STORE_WEIGHTS(s)
    TILE_SUM(sums, IS_K, k)
    if (PARTS == 2u) {
      barrier();
      STORE_WEIGHTS(t)
      TILE_SUM(more, IS_K, k)
    }
  }
  const Strip dq = Strip(pc.dq_at + (b * pc.tq + row0) * pc.dq_row + h * PARTS * pc.d, pc.dq_row, rows);
  WRITE_TILE(dq_words, sums, dq, 1.0)
  if (PARTS == 2u) WRITE_TILE(dq_words, more, second(dq), 1.0)
  if (SIDED) {
    SUM_ROWS(dside)
    SUM_ROWS(dside2)
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      const uint at = query_side_at(b, h, row0 + row_of(i));
      if (thread_x() == 0u && row_of(i) < rows) {
        dsides[at] = dside[i];
        dsides[at + 1u] = dside2[i];
      }
    }
  }
}
