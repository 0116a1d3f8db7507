#version 450
// dq_i = sum_j dS_ij slope k_j with dS = P (dy_i . v_j - delta_i), P = exp(S - lse): a group makes a tile of queries
// of one head.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/attention.glsl"
#include "lib/attention_tiles.glsl"

layout(std430, binding = 6) writeonly buffer Dq { uint dq_words[]; };

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const uint line = group % pc.lines, b = line / pc.heads, h = line % pc.heads;
  const uint row0 = (pc.blocks - 1u - group / pc.lines) * BR;
  const uint rows = min(BR, pc.tq - row0), mask = mask_at(b, h), head = h / pc.group * pc.d;
  const Strip q = Strip(pc.q_at + (b * pc.tq + row0) * pc.q_row + h * pc.d, pc.q_row, rows);
  const Strip dy = Strip(((b * pc.tq + row0) * pc.heads + h) * pc.d, pc.heads * pc.d, rows);

  float sums[TM][TD];
  vec2 stats[TM];
  [[unroll]] for (uint i = 0; i < TM; ++i) {
    [[unroll]] for (uint n = 0; n < TD; ++n) sums[i][n] = 0.0;
    stats[i] = row_of(i) < rows ? row_stats[line * pc.tq + row0 + row_of(i)] : vec2(LOWEST, 0.0);
  }

  const uint end = end_key(row0 + rows - 1u);
  for (uint column0 = first_key(row0); column0 < end; column0 += BC) {
    const uint columns = end - column0;
    const Strip k = Strip(pc.k_at + (b * pc.tk + column0) * pc.k_row + head, pc.k_row, columns);
    const Strip v = Strip(pc.v_at + (b * pc.tk + column0) * pc.v_row + head, pc.v_row, columns);
    float s[TM][TN], dp[TM][TN];
    TILE_PRODUCT(s, IS_Q, q, IS_K, k)
    TILE_PRODUCT(dp, IS_DY, dy, IS_V, v)
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      const uint row = row0 + row_of(i);
      [[unroll]] for (uint j = 0; j < TN; ++j) {
        const uint column = column0 + column_of(j);
        const bool seen = row < pc.tq && sees(row, column);
        const float p = seen ? weight_of(masked(score_of(s[i][j]), mask, row, column), stats[i].x) : 0.0;
        s[i][j] = p == 0.0 ? 0.0 : p * (dp[i][j] - stats[i].y) * score_slope(s[i][j]);
      }
    }
    barrier();
    STORE_WEIGHTS(s)
    TILE_SUM(sums, IS_K, k)
  }
  const Strip dq = Strip(pc.dq_at + (b * pc.tq + row0) * pc.dq_row + h * pc.d, pc.dq_row, rows);
  WRITE_TILE(dq_words, sums, dq, 1.0)
}
