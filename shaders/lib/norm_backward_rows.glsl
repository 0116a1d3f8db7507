// dx = rstd (g - mean(g) - u mean(g u)) + dres of rows of neighbours, u = (x - mean) rstd and g = dy weight: a team to
// each row; to two where a word holds the end of one and the start of the next.
#include "norm.glsl"
layout(constant_id = 1) const int DY = 0;
layout(constant_id = 2) const int IN = 0;  // dtype of x, dres and dx
layout(constant_id = 3) const int WEIGHT = 15;
layout(constant_id = 4) const int DRES = 0;
layout(constant_id = 5) const int CENTRED = 1;
layout(constant_id = 6) const int TOGETHER = 1;
layout(constant_id = 7) const int VECTORS = 0;  // rows are whole vectors of four
PUSH(uint rows; uint n;);
FLOATS(0, readonly, dy)
FLOATS(1, readonly, x)
FLOATS(2, readonly, weight)
FLOATS(3, readonly, dres)
FLOATS(4, writeonly, dx)
layout(set = 0, binding = 5) readonly buffer Means { float of[]; } mean;
layout(set = 0, binding = 6) readonly buffer Rstds { float of[]; } rstd;

float gradient(uint e, uint column) {
  const float g = LOAD(dy.words, DY, e);
  return WEIGHT == NONE ? g : g * LOAD(weight.words, WEIGHT, column);
}
vec4 gradient4(uint i, uint column) {
  const vec4 g = LOAD4(dy, DY, i);
  return WEIGHT == NONE ? g : g * LOAD4(weight, WEIGHT, column);
}

float row_sum(uint row) {
  if (VECTORS != 0) {
    TEAM_SUM(vec4, pc.n / 4u, i, gradient4(row * pc.n / 4u + i, i), fold4(part))
  } else {
    TEAM_SUM(float, pc.n, i, gradient(row * pc.n + i, i), part)
  }
}
float row_product(uint row, float m) {
  if (VECTORS != 0) {
    const uint first = row * pc.n / 4u;
    TEAM_SUM(vec4, pc.n / 4u, i, gradient4(first + i, i) * (LOAD4(x, IN, first + i) - m), fold4(part))
  } else {
    const uint first = row * pc.n;
    TEAM_SUM(float, pc.n, i, gradient(first + i, i) * (LOAD(x.words, IN, first + i) - m), part)
  }
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = TEAM_INDEX * uint(TOGETHER);
  if (row >= pc.rows) return;
  const uint here = min(uint(TOGETHER), pc.rows - row);
  float m[2], r[2], g_mean[2], u_mean[2];
  for (uint t = 0u; t < here; t++) {
    m[t] = CENTRED != 0 ? mean.of[row + t] : 0.0;
    r[t] = rstd.of[row + t];
    g_mean[t] = CENTRED != 0 ? row_sum(row + t) / float(pc.n) : 0.0;
    u_mean[t] = row_product(row + t, m[t]) * r[t] / float(pc.n);
  }
  if (VECTORS != 0) {
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const uint at = row * pc.n / 4u + i;
      const vec4 u = (LOAD4(x, IN, at) - m[0]) * r[0];
      vec4 v = r[0] * (gradient4(at, i) - g_mean[0] - u * u_mean[0]);
      if (DRES != 0) v += LOAD4(dres, IN, at);
      STORE4(dx, IN, at, v)
    }
    return;
  }
  const uint elements = here * pc.n, lanes = per_word(IN);
  for (uint w = MEMBER; w * lanes < elements; w += MEMBERS) {
    uint word = 0u;
    for (uint lane = 0u; lane < lanes; lane++) {
      const uint e = w * lanes + lane, at = row * pc.n + e;
      if (e >= elements) break;
      const bool second = e >= pc.n;
      const float scale = second ? r[1] : r[0];
      const float u = (LOAD(x.words, IN, at) - (second ? m[1] : m[0])) * scale;
      float v = gradient(at, second ? e - pc.n : e);
      v = scale * (v - (second ? g_mean[1] : g_mean[0]) - u * (second ? u_mean[1] : u_mean[0]));
      if (DRES != 0) v += LOAD(dres.words, IN, at);
      word = insert_bits(word, float_to_bits(v, IN), IN, lane);
    }
    dx.words[row * pc.n / lanes + w] = word;
  }
}
