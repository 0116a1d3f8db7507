#version 450
// dw = sum of dy (x - mean) rstd over the rows, db = sum of dy. PARTS: one invocation to a column, or to four
// neighbouring ones, of a segment of rows; partial sums lie [dw and db, segments, n]. JOIN: one invocation to a word of
// dw or of db.
#extension GL_GOOGLE_include_directive : enable
#define TEAM_LONE
#include "lib/head.glsl"
#include "lib/norm.glsl"
const int PARTS = 0, JOIN = 1;  // = src/ops/norm.backward.gpu.ts
layout(constant_id = 1) const int STAGE = 0;
layout(constant_id = 2) const int DY = 0;
layout(constant_id = 3) const int IN = 0;
layout(constant_id = 4) const int OUT = 0;
layout(constant_id = 5) const int CENTRED = 1;
layout(constant_id = 6) const int VECTORS = 0;
PUSH(uint invocations; uint rows; uint n; uint segment; uint segments; uint first_segment; uint from;);
FLOATS(0, readonly, dy)
FLOATS(1, readonly, x)
layout(set = 0, binding = 2) readonly buffer Means { float of[]; } mean;
layout(set = 0, binding = 3) readonly buffer Rstds { float of[]; } rstd;
layout(set = 0, binding = 4) buffer Parts { float of[]; } parts;
layout(set = 0, binding = 5) writeonly buffer Out { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count || TEAM_INDEX >= pc.invocations) return;
  if (STAGE == JOIN) {
    uint word = 0u;
    for (uint lane = 0u; lane < per_word(OUT); lane++) {
      const uint c = TEAM_INDEX * per_word(OUT) + lane;
      if (c >= pc.n) break;
      float sum = 0.0, lost = 0.0;
      for (uint s = 0u; s < pc.segments; s++) add_exactly(sum, lost, parts.of[pc.from + s * pc.n + c]);
      word = insert_bits(word, float_to_bits(sum, OUT), OUT, lane);
    }
    y.words[TEAM_INDEX] = word;
    return;
  }
  const uint width = VECTORS != 0 ? 4u : 1u, units = pc.n / width;
  const uint c = TEAM_INDEX % units, s = TEAM_INDEX / units;
  vec4 w = vec4(0.0), b = vec4(0.0);
  const uint end = min(pc.rows, (s + 1u) * pc.segment);
  for (uint first = s * pc.segment; first < end; first += BLOCK) {
    vec4 part_w = vec4(0.0), part_b = vec4(0.0);
    for (uint row = first; row < min(end, first + BLOCK); row++) {
      const uint at = row * units + c;
      const float m = CENTRED != 0 ? mean.of[row] : 0.0, r = rstd.of[row];
      const vec4 g = VECTORS != 0 ? LOAD4(dy, DY, at) : vec4(LOAD(dy.words, DY, at), 0.0, 0.0, 0.0);
      const vec4 v = VECTORS != 0 ? LOAD4(x, IN, at) : vec4(LOAD(x.words, IN, at), 0.0, 0.0, 0.0);
      part_w += g * ((v - m) * r);
      part_b += g;
    }
    w += part_w;
    b += part_b;
  }
  const uint to = (pc.first_segment + s) * pc.n + c * width;
  for (uint k = 0u; k < width; k++) {
    parts.of[to + k] = w[k];
    if (CENTRED != 0) parts.of[to + k + pc.segments * pc.n] = b[k];
  }
}
