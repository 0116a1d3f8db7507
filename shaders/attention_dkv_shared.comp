#version 450
// dv_j = sum_i P_ij dy_i and dk_j = sum_i dS_ij slope q_i over the queries i of all heads that key j serves: a group
// makes a tile of keys, queries are its columns.
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
  const uint rows = min(BR, pc.tk - row0);
  const Strip k = Strip(pc.k_at + (b * pc.tk + row0) * pc.k_row + head * pc.d, pc.k_row, rows);
  const Strip v = Strip(pc.v_at + (b * pc.tk + row0) * pc.v_row + head * pc.d, pc.v_row, rows);

  float dk[TM][TD], dv[TM][TD];
  [[unroll]] for (uint i = 0; i < TM; ++i)
    [[unroll]] for (uint n = 0; n < TD; ++n) dk[i][n] = dv[i][n] = 0.0;

  const uint begin = first_query(row0), end = end_query(row0 + rows - 1u);
  for (uint h = head * pc.group; h < (head + 1u) * pc.group; ++h) {
    const uint mask = mask_at(b, h);
    for (uint column0 = begin; column0 < end; column0 += BC) {
      const uint columns = end - column0;
      const Strip q = Strip(pc.q_at + (b * pc.tq + column0) * pc.q_row + h * pc.d, pc.q_row, columns);
      const Strip dy = Strip(((b * pc.tq + column0) * pc.heads + h) * pc.d, pc.heads * pc.d, columns);
      vec2 stats[TN];
      [[unroll]] for (uint j = 0; j < TN; ++j)
        stats[j] = column_of(j) < columns ? row_stats[(b * pc.heads + h) * pc.tq + column0 + column_of(j)]
                                          : vec2(LOWEST, 0.0);
      float s[TM][TN], dp[TM][TN];
      TILE_PRODUCT(s, IS_K, k, IS_Q, q)
      TILE_PRODUCT(dp, IS_V, v, IS_DY, dy)
      [[unroll]] for (uint i = 0; i < TM; ++i) {
        const uint row = row0 + row_of(i);
        [[unroll]] for (uint j = 0; j < TN; ++j) {
          const uint column = column0 + column_of(j);
          const bool seen = row < pc.tk && column < end && sees(column, row);
          const float p = seen ? weight_of(masked(score_of(s[i][j]), mask, column, row), stats[j].x) : 0.0;
          dp[i][j] = p == 0.0 ? 0.0 : p * (dp[i][j] - stats[j].y) * score_slope(s[i][j]);
          s[i][j] = p;
        }
      }
      barrier();
      STORE_WEIGHTS(s)
      TILE_SUM(dv, IS_DY, dy)
      barrier();
      STORE_WEIGHTS(dp)
      TILE_SUM(dk, IS_Q, q)
    }
  }
  const Strip to_k = Strip(pc.dk_at + (b * pc.tk + row0) * pc.dk_row + head * pc.d, pc.dk_row, rows);
  WRITE_TILE(dk_words, dk, to_k, 1.0)
  const Strip to_v = Strip(pc.dv_at + (b * pc.tk + row0) * pc.dv_row + head * pc.d, pc.dv_row, rows);
  WRITE_TILE(dv_words, dv, to_v, 1.0)
}
