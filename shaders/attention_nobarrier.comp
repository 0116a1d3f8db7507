#version 450
// For software drivers: each invocation makes ROWS queries of one head by itself; nothing is shared, nothing waits.
// Neighbouring invocations take the same queries of neighbouring heads, so that they sweep over equally many keys.
#extension GL_GOOGLE_include_directive : require
#include "lib/attention.glsl"
#include "lib/attention_rows.glsl"
#include "lib/math.glsl"

layout(std430, binding = 4) writeonly buffer O { uint o_words[]; };
layout(std430, binding = 5) writeonly buffer Lse { float lse[]; };
layout(std430, binding = 6) writeonly buffer Entropy { float entropy[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads, head = h / pc.group;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;  // the longest causal sweeps start first
  const Bias bias = bias_of(b, h);

  vec4 sums[ROWS * QUADS];
  float most[ROWS], total[ROWS], weighted[ROWS];
  uint query[ROWS], q_row[ROWS];
  vec4 q_side[ROWS];
  CLEAR_ROWS(sums, ROWS)
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    query[r] = min(first + r, pc.tq - 1u);
    q_row[r] = pc.q_at + (b * pc.tq + query[r]) * pc.q_row + h * PARTS * pc.d;
    q_side[r] = query_side(b, h, query[r]);
    most[r] = LOWEST;
    total[r] = weighted[r] = 0.0;
  }

  const uint end = end_key(query[ROWS - 1u]);
  for (uint j0 = first_key(first); j0 < end; j0 += COLUMNS) {
    uint k_row[COLUMNS], v_row[COLUMNS];
    vec3 k_side[COLUMNS];
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
      const uint j = min(j0 + c, end - 1u);
      k_row[c] = pc.k_at + b * pc.k_batch + j * pc.k_row + head * pc.d;
      v_row[c] = pc.v_at + b * pc.k_batch + j * pc.v_row + head * pc.d;
      k_side[c] = key_side(b, head, j);
    }
    float s[ROWS][COLUMNS], t[ROWS][COLUMNS], shrink[ROWS];
    ROW_PRODUCT(s, q, q_row, 0u, k, k_row, 0u)
    if (PARTS == 2u) ROW_PRODUCT(t, q, q_row, pc.d, k, k_row, 0u)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint from = first_key(query[r]), to = end_key(query[r]);
      float now = most[r];
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const uint j = j0 + c;
        const float score = score_of(PRODUCTS(s[r][c], t[r][c]), q_side[r], k_side[c]);
        s[r][c] = j >= from && j < to ? biased(score, bias, query[r], min(j, end - 1u)) : LOWEST;
        now = greater(now, s[r][c]);
      }
      const float base = max_or_0(now);
      shrink[r] = exp_below(most[r], base);
      most[r] = now;
      total[r] *= shrink[r];
      weighted[r] *= shrink[r];
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const float p = exp_below(s[r][c], base);
        total[r] += p;
        if (ENTROPY) weighted[r] += p == 0.0 ? 0.0 : p * s[r][c];
        s[r][c] = p;
      }
    }
    ROW_SUM(sums, 0u, shrink[r], s, v, v_row, 0u)
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint at = line * pc.tq + query[r];
    const float scale = inverse(total[r]);
    const float log_sum = total[r] == 0.0 ? LOWEST : most[r] + log_safe(total[r]);
    lse[at] = log_sum;
    if (ENTROPY) entropy[at] = total[r] == 0.0 ? 0.0 : log_sum - weighted[r] * scale;
    WRITE_ROW(o_words, ((b * pc.tq + query[r]) * pc.heads + h) * pc.d, sums, r, scale)
  }
}
