#version 450
// For GPUs: a group makes a tile of queries of one head. For each tile of keys it sees: scores from slices in shared
// memory, a row's maximum across the 16 threads that hold it, weights back to shared memory, values added on top.
#extension GL_GOOGLE_include_directive : require
#include "lib/attention.glsl"
#include "lib/attention_tiles.glsl"
#include "lib/math.glsl"

layout(std430, binding = 4) writeonly buffer O { uint o_words[]; };
layout(std430, binding = 5) writeonly buffer Lse { float lse[]; };
layout(std430, binding = 6) writeonly buffer Entropy { float entropy[]; };

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const uint line = group % pc.lines, b = line / pc.heads, h = line % pc.heads;
  const uint row0 = (pc.blocks - 1u - group / pc.lines) * BR;  // the longest causal sweeps start first
  const uint rows = min(BR, pc.tq - row0), head = h / pc.group;
  const Bias bias = bias_of(b, h);
  const Strip q = Strip(pc.q_at + (b * pc.tq + row0) * pc.q_row + h * PARTS * pc.d, pc.q_row, rows);

  float sums[TM][TD], most[TM], total[TM], weighted[TM];
  vec4 q_side[TM];
  [[unroll]] for (uint i = 0; i < TM; ++i) {
    [[unroll]] for (uint n = 0; n < TD; ++n) sums[i][n] = 0.0;
    most[i] = LOWEST;
    total[i] = weighted[i] = 0.0;
    q_side[i] = query_side(b, h, row0 + min(row_of(i), rows - 1u));
  }

  const uint end = end_key(row0 + rows - 1u);
  for (uint column0 = first_key(row0); column0 < end; column0 += BC) {
    const uint columns = end - column0;
    const Strip k = Strip(pc.k_at + b * pc.k_batch + column0 * pc.k_row + head * pc.d, pc.k_row, columns);
    const Strip v = Strip(pc.v_at + b * pc.k_batch + column0 * pc.v_row + head * pc.d, pc.v_row, columns);
    vec3 k_side[TN];
    [[unroll]] for (uint j = 0; j < TN; ++j)
      k_side[j] = key_side(b, head, column0 + min(column_of(j), columns - 1u));
    float s[TM][TN], t[TM][TN];
    TILE_PRODUCT(s, IS_Q, q, IS_K, k)
    if (PARTS == 2u) TILE_PRODUCT(t, IS_Q, second(q), IS_K, k)
    float tile_most[TM];
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      const uint row = row0 + row_of(i);
      tile_most[i] = LOWEST;
      [[unroll]] for (uint j = 0; j < TN; ++j) {
        const uint column = column0 + column_of(j);
        const float score = score_of(PRODUCTS(s[i][j], t[i][j]), q_side[i], k_side[j]);
        s[i][j] = row < pc.tq && sees(row, column) ? biased(score, bias, row, column) : LOWEST;
        tile_most[i] = greater(tile_most[i], s[i][j]);
      }
    }
    GATHER_ROWS(tile_most[i])
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      float now = most[i];
      FOLD_ROW(i, now, greater(now, other))
      const float base = max_or_0(now), shrink = exp_below(most[i], base);
      most[i] = now;
      total[i] *= shrink;
      weighted[i] *= shrink;
      [[unroll]] for (uint n = 0; n < TD; ++n) sums[i][n] *= shrink;
      [[unroll]] for (uint j = 0; j < TN; ++j) {
        const float p = exp_below(s[i][j], base);
        total[i] += p;
        if (ENTROPY) weighted[i] += p == 0.0 ? 0.0 : p * s[i][j];
        s[i][j] = p;
      }
    }
    STORE_WEIGHTS(s)
    TILE_SUM(sums, IS_V, v)
  }

  SUM_ROWS(total)
  if (ENTROPY) SUM_ROWS(weighted)
  if (thread_x() == 0u) {
    [[unroll]] for (uint i = 0; i < TM; ++i) {
      if (row_of(i) < rows) {
        const float log_sum = total[i] == 0.0 ? LOWEST : most[i] + log_safe(total[i]);
        lse[line * pc.tq + row0 + row_of(i)] = log_sum;
        if (ENTROPY)
          entropy[line * pc.tq + row0 + row_of(i)] =
              total[i] == 0.0 ? 0.0 : log_sum - weighted[i] * inverse(total[i]);
      }
    }
  }
  const Strip o = Strip(((b * pc.tq + row0) * pc.heads + h) * pc.d, pc.heads * pc.d, rows);
  WRITE_TILE(o_words, sums, o, inverse(total[i]))
}
