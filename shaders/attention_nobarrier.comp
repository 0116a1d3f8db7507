#version 450
// For software drivers: each invocation keeps ROWS queries and their sums in registers and reads every key and value
// itself, ROWS multiply-adds a load; nothing is shared, nothing waits. Neighbouring invocations take the same queries
// of neighbouring heads, so that they sweep over equally many keys. Past the last query rows are clamped: they compute
// its numbers again and write the same bits.
#extension GL_GOOGLE_include_directive : require
#include "lib/attention.glsl"
#include "lib/math.glsl"

layout(constant_id = 8) const uint ROWS = 4;

layout(std430, binding = 4) writeonly buffer O { uint o_words[]; };
layout(std430, binding = 5) writeonly buffer Lse { float lse[]; };
layout(std430, binding = 6) writeonly buffer Entropy { float entropy[]; };

#include "lib/attention_rows.glsl"

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.lines * pc.blocks) return;
  const uint line = unit % pc.lines, b = line / pc.heads, h = line % pc.heads;
  const uint first = (pc.blocks - 1u - unit / pc.lines) * ROWS;  // the longest causal sweeps start first
  const uint mask = mask_at(b, h);

  float q[ROWS][D], sums[ROWS][D], most[ROWS], total[ROWS], weighted[ROWS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint i = min(first + r, pc.tq - 1u);
    READ_ROW(q[r], q, pc.q_at + (b * pc.tq + i) * pc.q_row + h * D)
    [[unroll]] for (uint d = 0; d < D; ++d) sums[r][d] = 0.0;
    most[r] = LOWEST;
    total[r] = weighted[r] = 0.0;
  }

  const uint end = end_key(min(first + ROWS, pc.tq) - 1u), head = h / pc.group * D;
  for (uint j = first_key(first); j < end; ++j) {
    float x[D], p[ROWS], shrink[ROWS];
    READ_ROW(x, k, pc.k_at + (b * pc.tk + j) * pc.k_row + head)
    [[unroll]] for (uint r = 0; r < ROWS; ++r) {
      const uint i = min(first + r, pc.tq - 1u);
      float product = 0.0;
      [[unroll]] for (uint d = 0; d < D; ++d) product += q[r][d] * x[d];
      const float s = sees(i, j) ? masked(score_of(product), mask, i, j) : LOWEST;
      const float now = greater(most[r], s), base = max_or_0(now);
      p[r] = exp_below(s, base);
      shrink[r] = exp_below(most[r], base);
      most[r] = now;
      total[r] = total[r] * shrink[r] + p[r];
      if (ENTROPY) weighted[r] = weighted[r] * shrink[r] + (p[r] == 0.0 ? 0.0 : p[r] * s);
    }
    READ_ROW(x, v, pc.v_at + (b * pc.tk + j) * pc.v_row + head)
    [[unroll]] for (uint r = 0; r < ROWS; ++r)
      [[unroll]] for (uint d = 0; d < D; ++d) sums[r][d] = sums[r][d] * shrink[r] + p[r] * x[d];
  }

  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint i = min(first + r, pc.tq - 1u), at = line * pc.tq + i;
    const float scale = inverse(total[r]);
    const float log_sum = total[r] == 0.0 ? LOWEST : most[r] + log_safe(total[r]);
    lse[at] = log_sum;
    if (ENTROPY) entropy[at] = total[r] == 0.0 ? 0.0 : log_sum - weighted[r] * scale;
    WRITE_ROW(o_words, ((b * pc.tq + i) * pc.heads + h) * D, sums[r], scale)
  }
}
