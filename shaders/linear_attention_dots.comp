#version 450
// Products of the tokens of a chunk, x_t y_s for s <= t: of queries and keys (without decays), or of dy and v (BACK). An
// invocation to 4 x 4 of them.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
FLOATS(0, readonly, x)
FLOATS(1, readonly, y)
layout(std430, binding = 2) writeonly buffer Pairs { float pairs[]; };
const uint ROWS = 4;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint across = pc.chunk / ROWS, channels = BACK ? pc.dv : pc.dk;
  const uint line = unit / across % pc.lines, t0 = unit / across / pc.lines * ROWS;
  const uint s0 = t0 / pc.chunk * pc.chunk + unit % across * ROWS;
  if (s0 > t0) return;
  uint t_row[ROWS], s_row[ROWS];
  float sum[ROWS][ROWS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    t_row[r] = row_of(line, min(t0 + r, pc.t - 1u));
    s_row[r] = row_of(line, min(s0 + r, pc.t - 1u));
    [[unroll]] for (uint c = 0; c < ROWS; ++c) sum[r][c] = 0.0;
  }
  [[dont_unroll]] for (uint d = 0; d < channels; d += 4u) {
    vec4 u[ROWS];
    [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] = FETCH(x, DTYPE, t_row[r], channels, d);
    [[unroll]] for (uint c = 0; c < ROWS; ++c) {
      const vec4 w = FETCH(y, DTYPE, s_row[c], channels, d);
      [[unroll]] for (uint r = 0; r < ROWS; ++r) sum[r][c] += dot(u[r], w);
    }
  }
  [[unroll]] for (uint r = 0; r < ROWS; ++r)
    [[unroll]] for (uint c = 0; c < ROWS; ++c)
      if (t0 + r < pc.t) pairs[pair_at(line, t0 + r, s0 + c)] = sum[r][c];
}
