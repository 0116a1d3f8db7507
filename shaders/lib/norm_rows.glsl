// y = (x - mean) rstd weight + bias of rows of neighbours, a team to each; to two where a word holds the end of one
// and the start of the next. With a residual, sum = x + residual takes the place of x.
#include "norm.glsl"
layout(constant_id = 1) const int IN = 0;
layout(constant_id = 2) const int OUT = 0;
layout(constant_id = 3) const int RESIDUAL = 15;
layout(constant_id = 4) const int WEIGHT = 15;
layout(constant_id = 5) const int BIAS = 15;
layout(constant_id = 6) const int CENTRED = 1;
layout(constant_id = 7) const int TOGETHER = 1;
layout(constant_id = 8) const int VECTORS = 0;  // rows are whole vectors of four
PUSH(uint rows; uint n; float eps;);
FLOATS(0, readonly, x)
FLOATS(1, readonly, residual)
FLOATS(2, readonly, weight)
FLOATS(3, readonly, bias)
FLOATS(4, writeonly, y)
FLOATS(5, writeonly, sum)
layout(set = 0, binding = 6) writeonly buffer Means { float of[]; } mean;
layout(set = 0, binding = 7) writeonly buffer Rstds { float of[]; } rstd;

float value(uint e) {
  const float v = LOAD(x.words, IN, e);
  return RESIDUAL == NONE ? v : as_stored(v + LOAD(residual.words, RESIDUAL, e), RESIDUAL);
}
vec4 value4(uint i) {
  const vec4 v = LOAD4(x, IN, i);
  return RESIDUAL == NONE ? v : as_stored(v + LOAD4(residual, RESIDUAL, i), RESIDUAL);
}

float square(float v) { return v * v; }
vec4 square(vec4 v) { return v * v; }

float row_sum(uint row) {
  if (VECTORS != 0) {
    TEAM_SUM(vec4, pc.n / 4u, i, value4(row * pc.n / 4u + i), fold4(part))
  } else {
    TEAM_SUM(float, pc.n, i, value(row * pc.n + i), part)
  }
}
float row_squares(uint row, float m) {
  if (VECTORS != 0) {
    TEAM_SUM(vec4, pc.n / 4u, i, square(value4(row * pc.n / 4u + i) - m), fold4(part))
  } else {
    TEAM_SUM(float, pc.n, i, square(value(row * pc.n + i) - m), part)
  }
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = TEAM_INDEX * uint(TOGETHER);
  if (row >= pc.rows) return;
  const uint here = min(uint(TOGETHER), pc.rows - row);
  float m[2], r[2];
  for (uint t = 0u; t < here; t++) {
    m[t] = CENTRED != 0 ? row_sum(row + t) / float(pc.n) : 0.0;
    r[t] = 1.0 / sqrt(row_squares(row + t, m[t]) / float(pc.n) + pc.eps);
    if (MEMBER == 0u) {
      if (CENTRED != 0) mean.of[row + t] = m[t];
      rstd.of[row + t] = r[t];
    }
  }
  if (VECTORS != 0) {
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const uint at = row * pc.n / 4u + i;
      vec4 v = value4(at);
      if (RESIDUAL != NONE) {
        STORE4(sum, RESIDUAL, at, v)
      }
      v = (v - m[0]) * r[0];
      if (WEIGHT != NONE) v *= LOAD4(weight, WEIGHT, i);
      if (BIAS != NONE) v += LOAD4(bias, BIAS, i);
      STORE4(y, OUT, at, v)
    }
    return;
  }
  const uint elements = here * pc.n, lanes = per_word(OUT);
  for (uint w = MEMBER; w * lanes < elements; w += MEMBERS) {
    uint word = 0u;
    for (uint lane = 0u; lane < lanes; lane++) {
      const uint e = w * lanes + lane;
      if (e >= elements) break;
      const bool second = e >= pc.n;
      const uint column = second ? e - pc.n : e;
      float v = (value(row * pc.n + e) - (second ? m[1] : m[0])) * (second ? r[1] : r[0]);
      if (WEIGHT != NONE) v *= LOAD(weight.words, WEIGHT, column);
      if (BIAS != NONE) v += LOAD(bias.words, BIAS, column);
      word = insert_bits(word, float_to_bits(v, OUT), OUT, lane);
    }
    y.words[row * pc.n / lanes + w] = word;
  }
  if (RESIDUAL == NONE) return;
  const uint sum_lanes = per_word(RESIDUAL);
  for (uint w = MEMBER; w * sum_lanes < elements; w += MEMBERS) {
    uint word = 0u;
    for (uint lane = 0u; lane < sum_lanes; lane++) {
      const uint e = w * sum_lanes + lane;
      if (e < elements) word = insert_bits(word, float_to_bits(value(row * pc.n + e), RESIDUAL), RESIDUAL, lane);
    }
    sum.words[row * pc.n / sum_lanes + w] = word;
  }
}
