#version 450
// dk_j = scale sum_ik dS_ijk q_i k2_k (WANTED 0) or dv_j = sum_ik P_ijk dy_i v2_k (1): an invocation makes a key, over the
// queries that see it and, COLUMNS at a time, the keys of the other side that these see. The score is the same form of
// k2 and v2, so that with the sides changed it makes dk2 and dv2; a determinant changes its sign.
#extension GL_GOOGLE_include_directive : require
#define BACKWARD
#include "lib/simplicial.glsl"

layout(std430, binding = 7) writeonly buffer Out { uint out_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  const uint key_heads = pc.heads / pc.group;
  const uint j = unit % pc.tk, g = unit / pc.tk % key_heads, b = unit / pc.tk / key_heads;
  const uint own = key_row(b, j, g);
  const uvec2 queries = hidden(b, j) ? uvec2(0u) : reached_by(j, pc.w1);

  vec4 a[QUADS], w[QUADS], sums[QUADS], made[QUADS];
  CLEAR(made)
  for (uint n = 0u; n < pc.group * (queries.y - queries.x); ++n) {
    const uint i = queries.x + n / pc.group, h = g * pc.group + n % pc.group, q_row = query_row(b, i, h);
    const uint stat = 2u * ((b * pc.heads + h) * pc.tq + i);
    const float lse = row_stats[stat], delta = row_stats[stat + 1u];
    if (lse == LOWEST) continue;
    const uvec2 other = reach(i, pc.w2);
    COMBINE(a, q, q_row, k, own)
    if (WANTED == 0) EACH_QUAD(d) w[d / 4u] = READ(dy, q_row, d) * READ(v, own, d);
    CLEAR(sums)
    for (uint y0 = other.x; y0 < other.y; y0 += COLUMNS) {
      uint row[COLUMNS];
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) row[c] = key_row(b, min(y0 + c, other.y - 1u), g);
      float s[COLUMNS], dp[COLUMNS];
      PRODUCT(s, a, k2, row)
      if (WANTED == 0) {
        PRODUCT(dp, w, v2, row)
      }
      [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) {
        const bool seen = y0 + c < other.y && !hidden(b, min(y0 + c, other.y - 1u));
        const float p = seen ? exp_below(pc.scale * s[c], lse) : 0.0;
        s[c] = WANTED == 1 || p == 0.0 ? p : p * (dp[c] - delta);
      }
      if (WANTED == 0) {
        WEIGH(sums, 1.0, s, k2, row)
      } else {
        WEIGH(sums, 1.0, s, v2, row)
      }
    }
    if (WANTED == 0) {
      COMBINE_INTO(made, q, q_row, sums, -1.0)
    } else {
      EACH_QUAD(d) made[d / 4u] += sums[d / 4u] * READ(dy, q_row, d);
    }
  }
  WRITE(out_words, own, made, WANTED == 0 ? pc.scale : 1.0)
}
