#version 450
// o_t = sum of score(t, s) v_s over the tokens s of the chunk up to t, and Sᵀ q_t, q decayed since the chunk began and S
// the state before it. BACK: dv_s = sum of score(t, s) dy_t over those from s on, and Dᵀ k_s, k decayed until the chunk
// ends and D the gradient of the state after it. Tokens on the other side are not even multiplied by 0.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention_tile.glsl"
layout(constant_id = 6) const int DECAYED = 0;  // dtype of x
FLOATS(0, readonly, x)
FLOATS(1, readonly, y)
layout(std430, binding = 2) readonly buffer Pairs { float pairs[]; };
FLOATS(3, readonly, states)
FLOATS(4, writeonly, o)

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  take_tile(unit, pc.dv);
  vec4 tile[ROWS][QUADS];
  EACH_ROW EACH_QUAD tile[r][n] = vec4(0.0);
  [[dont_unroll]] for (uint i = 0; i < pc.dk; i += 4u) {
    vec4 u[ROWS];
    EACH_ROW u[r] = FETCH(x, DECAYED, row[r], pc.dk, i);
    const uint at = state_row(line, chunk_of, i), count = below(i, pc.dk);
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      if (c >= count) break;
      EACH_QUAD {
        const vec4 part = FETCH(states, F32, at + c, pc.dv, channel + 4u * n);
        EACH_ROW tile[r][n] += u[r][c] * part;
      }
    }
  }
  const uint from = BACK ? token[0] : chunk_begin, to = BACK ? chunk_end : token[ROWS - 1u] + 1u;
  [[dont_unroll]] for (uint s = from; s < to; ++s) {
    const uint other = row_of(line, s);
    vec4 u[QUADS];
    EACH_QUAD u[n] = FETCH(y, DTYPE, other, pc.dv, channel + 4u * n);
    EACH_ROW if (BACK ? s >= token[r] : s <= token[r]) {
      const float score = pairs[BACK ? pair_at(line, s, token[r]) : pair_at(line, token[r], s)];
      EACH_QUAD tile[r][n] += score * u[n];
    }
  }
  WRITE_TILE(o, pc.dv, tile)
}
