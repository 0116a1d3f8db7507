#version 450
// What each chunk adds to the state, sum_s x_s y_sᵀ: x = k decayed until the chunk ends, y = v; or to the gradient of
// the state before it: x = q decayed since the chunk began, y = dy. An invocation to 4 x 16 elements.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
FLOATS(0, readonly, x)
FLOATS(1, readonly, y)
FLOATS(2, writeonly, states)

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint across = (pc.dv + 15u) / 16u, down = (pc.dk + 3u) / 4u;
  const uint j = unit % across * 16u, i = unit / across % down * 4u, rest = unit / across / down;
  const uint chunk = rest % pc.chunks, line = rest / pc.chunks;
  const uint begin = chunk * pc.chunk, end = min(begin + pc.chunk, pc.t);
  vec4 sum[4][4];
  [[unroll]] for (uint c = 0; c < 4u; ++c)
    [[unroll]] for (uint n = 0; n < 4u; ++n) sum[c][n] = vec4(0.0);
  for (uint t = begin; t < end; ++t) {
    const uint row = row_of(line, t);
    const vec4 u = FETCH(x, OTHER, row, pc.dk, i);
    [[unroll]] for (uint n = 0; n < 4u; ++n) {
      const vec4 w = FETCH(y, DTYPE, row, pc.dv, j + 4u * n);
      [[unroll]] for (uint c = 0; c < 4u; ++c) sum[c][n] += u[c] * w;
    }
  }
  [[unroll]] for (uint c = 0; c < 4u; ++c)
    [[unroll]] for (uint n = 0; n < 4u; ++n) {
      const uint d = j + 4u * n, at = state_row(line, chunk, i + c) * pc.dv + d;
      if (VECTORS) {
        if (d < pc.dv) STORE4(states, F32, at / 4u, sum[c][n])
      } else {
        [[unroll]] for (uint e = 0; e < 4u; ++e)
          if (i + c < pc.dk && d + e < pc.dv) states.words[at + e] = floatBitsToUint(sum[c][n][e]);
      }
    }
}
