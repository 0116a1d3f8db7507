#version 450
// dq_i = scale sum_jk dS_ijk k_j k2_k, dS = P (dP - delta), dP = sum_d dy v_j v2_k: laid out as simplicial.comp.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/simplicial.glsl"

layout(std430, binding = 7) writeonly buffer Dq { uint dq_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  const uint i = unit % pc.tq, h = unit / pc.tq % pc.heads, b = unit / pc.tq / pc.heads, g = h / pc.group;
  const uint q_row = query_row(b, i, h), stat = 2u * unit;
  const uvec2 first = reach(i, pc.w1), second = reach(i, pc.w2);
  const float lse = row_stats[stat], delta = row_stats[stat + 1u];

  vec4 a[QUADS], w[QUADS], da[QUADS], dq[QUADS];
  CLEAR(dq)
  for (uint y = second.x; y < second.y; ++y) {
    if (hidden(b, y) || lse == LOWEST) continue;
    const uint y_row = key_row(b, y, g);
    COMBINE(a, q, q_row, k2, y_row)
    EACH_QUAD(d) w[d / 4u] = READ(dy, q_row, d) * READ(v2, y_row, d);
    CLEAR(da)
    for (uint j0 = first.x; j0 < first.y; j0 += COLUMNS) {
      uint row[COLUMNS];
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) row[c] = key_row(b, min(j0 + c, first.y - 1u), g);
      float s[COLUMNS], dp[COLUMNS];
      PRODUCT(s, a, k, row)
      PRODUCT(dp, w, v, row)
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) {
        const bool seen = j0 + c < first.y && !hidden(b, min(j0 + c, first.y - 1u));
        const float p = seen ? exp_below(pc.scale * s[c], lse) : 0.0;
        s[c] = p == 0.0 ? 0.0 : p * (dp[c] - delta);
      }
      WEIGH(da, 1.0, s, k, row)
    }
    COMBINE_INTO(dq, k2, y_row, da, 1.0)
  }
  WRITE(dq_words, q_row, dq, pc.scale)
}
