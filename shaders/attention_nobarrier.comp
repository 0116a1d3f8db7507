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
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads, head = h / pc.group * pc.d;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;  // the longest causal sweeps start first
  const uint mask = mask_at(b, h);

  vec4 sums[ROWS * QUADS];
  float most[ROWS], total[ROWS], weighted[ROWS];
  uint query[ROWS], q_row[ROWS];
  CLEAR_ROWS(sums)
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    query[r] = min(first + r, pc.tq - 1u);
    q_row[r] = pc.q_at + (b * pc.tq + query[r]) * pc.q_row + h * pc.d;
    most[r] = LOWEST;
    total[r] = weighted[r] = 0.0;
  }

  const uint end = end_key(query[ROWS - 1u]);
  for (uint j0 = first_key(first); j0 < end; j0 += COLUMNS) {
    uint k_row[COLUMNS], v_row[COLUMNS];
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
      const uint j = b * pc.tk + min(j0 + c, end - 1u);
      k_row[c] = pc.k_at + j * pc.k_row + head;
      v_row[c] = pc.v_at + j * pc.v_row + head;
    }
    float s[ROWS][COLUMNS], shrink[ROWS];
    ROW_PRODUCT(s, q, q_row, k, k_row)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint from = first_key(query[r]), to = end_key(query[r]);
      float now = most[r];
      [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {
        const uint j = j0 + c;
        s[r][c] = j >= from && j < to ? masked(score_of(s[r][c]), mask, query[r], min(j, end - 1u)) : LOWEST;
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
    ROW_SUM(sums, shrink[r], s, v, v_row)
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
