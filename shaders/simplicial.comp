#version 450
// o_i = sum_jk P_ijk v_j v2_k: an invocation makes a query of a head. For each key of k2 a = q k2 is a row that keys are
// multiplied with as in attention, and r = sum_j P v_j; then o += r v2. WANTED: 0 the log-sum-exps, 1 the entropies.
#extension GL_GOOGLE_include_directive : require
#include "lib/math.glsl"
#include "lib/simplicial.glsl"

layout(std430, binding = 6) writeonly buffer O { uint o_words[]; };
layout(std430, binding = 7) writeonly buffer Stats { float stats[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  const uint i = unit % pc.tq, h = unit / pc.tq % pc.heads, b = unit / pc.tq / pc.heads, g = h / pc.group;
  const uint q_row = query_row(b, i, h);
  const uvec2 first = reach(i, pc.w1), second = reach(i, pc.w2);

  vec4 a[QUADS], r[QUADS], o[QUADS];
  CLEAR(o)
  float most = LOWEST, total = 0.0, weighted = 0.0;
  for (uint y = second.x; y < second.y; ++y) {
    if (hidden(b, y)) continue;
    const uint y_row = key_row(b, y, g);
    COMBINE(a, q, q_row, k2, y_row)
    CLEAR(r)
    float shrunk = 1.0;  // what o has to be multiplied with
    for (uint j0 = first.x; j0 < first.y; j0 += COLUMNS) {
      uint row[COLUMNS];
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) row[c] = key_row(b, min(j0 + c, first.y - 1u), g);
      float s[COLUMNS];
      PRODUCT(s, a, k, row)
      float now = most;
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) {
        const bool seen = j0 + c < first.y && !hidden(b, min(j0 + c, first.y - 1u));
        s[c] = seen ? pc.scale * s[c] : LOWEST;
        now = greater(now, s[c]);
      }
      const float base = max_or_0(now), shrink = exp_below(most, base);
      most = now;
      total *= shrink;
      weighted *= shrink;
      shrunk *= shrink;
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) {
        const float p = exp_below(s[c], base);
        total += p;
        weighted += p == 0.0 ? 0.0 : p * s[c];
        s[c] = p;
      }
      WEIGH(r, shrink, s, v, row)
    }
    EACH_QUAD(d) o[d / 4u] = o[d / 4u] * shrunk + r[d / 4u] * READ(v2, y_row, d);
  }

  const float scale = inverse(total), log_sum = total == 0.0 ? LOWEST : most + log_safe(total);
  const uint at = (b * pc.heads + h) * pc.tq + i;
  stats[at] = WANTED == 0 ? log_sum : total == 0.0 ? 0.0 : log_sum - weighted * scale;
  WRITE(o_words, q_row, o, scale)
}
