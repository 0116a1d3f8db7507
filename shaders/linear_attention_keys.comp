#version 450
// dq_t = S dy_t decayed since the chunk began, and weight(t, s) k_s decayed since s for the tokens s of the chunk up to
// t, weight(t, s) = dy_t v_s, by Horner's rule: u = S dy_t, then u = a_s u + weight k_s. BACK: dk_s from D v_s and the
// queries of the tokens t from s on, u = (u + weight q_t) a_t from the chunk's end, and weight q_s at last.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention_tile.glsl"
FLOATS(0, readonly, x)
FLOATS(1, readonly, y)
FLOATS(2, readonly, a)
layout(std430, binding = 3) readonly buffer Pairs { float pairs[]; };
FLOATS(4, readonly, states)
FLOATS(5, writeonly, o)

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  take_tile(unit, pc.dk);
  vec4 tile[ROWS][QUADS];
  EACH_ROW EACH_QUAD tile[r][n] = vec4(0.0);
  [[dont_unroll]] for (uint j = 0; j < pc.dv; j += 4u) {
    vec4 u[ROWS];
    EACH_ROW u[r] = FETCH(y, DTYPE, row[r], pc.dv, j);
    EACH_QUAD [[unroll]] for (uint c = 0; c < 4u; ++c) {
      const uint i = min(channel + 4u * n + c, pc.dk - 1u);  // what is computed twice is not written
      const vec4 part = FETCH(states, F32, state_row(line, chunk_of, i), pc.dv, j);
      EACH_ROW tile[r][n][c] += dot(u[r], part);
    }
  }
  const uint from = BACK ? token[0] : chunk_begin, to = BACK ? chunk_end : token[ROWS - 1u] + 1u;
  [[dont_unroll]] for (uint k = 0; k < to - from; ++k) {
    const uint s = BACK ? to - 1u - k : from + k, other = row_of(line, s);
    vec4 u[QUADS], factor[QUADS];
    EACH_QUAD {
      u[n] = FETCH(x, DTYPE, other, pc.dk, channel + 4u * n);
      factor[n] = DECAY ? FETCH(a, F32, other, pc.dk, channel + 4u * n) : vec4(1.0);
    }
    EACH_ROW if (BACK ? s >= token[r] : s <= token[r]) {
      const float weight = pairs[BACK ? pair_at(line, s, token[r]) : pair_at(line, token[r], s)];
      EACH_QUAD {
        if (DECAY && !BACK) tile[r][n] *= factor[n];
        tile[r][n] += weight * u[n];
        if (DECAY && BACK && s > token[r]) tile[r][n] *= factor[n];
      }
    }
  }
  WRITE_TILE(o, pc.dk, tile)
}
