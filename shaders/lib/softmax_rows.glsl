// Softmax and its kin of rows of neighbours, a team to each; to two where a word of output holds the end of one and the
// start of the next. Spec constants: 1 dtype, 2 kind, 3 rows together, 4 rows are a multiple of a vector load.
#include "storage.glsl"
#include "softmax_kinds.glsl"
#include "team.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 3) const int TOGETHER = 1;
layout(constant_id = 4) const int VECTORS = 0;
PUSH(uint rows; uint n;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } x4;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 1) writeonly buffer Out4 { uvec4 words[]; } y4;
layout(set = 0, binding = 2) readonly buffer Dy { uint words[]; } dy;  // of gradients
layout(set = 0, binding = 2) readonly buffer Dy4 { uvec4 words[]; } dy4;

const bool FOURS = VECTORS != 0 && DTYPE == F32;
const bool NEEDS_MOST = KIND != SOFTMAX_GRADIENT;

vec4 load4(uint i) { return uintBitsToFloat(x4.words[i]); }
vec4 gradient4(uint i) { return GRADIENT ? uintBitsToFloat(dy4.words[i]) : vec4(0.0); }
float gradient(uint e) { return GRADIENT ? LOAD(dy.words, DTYPE, e) : 0.0; }

float row_max(uint row) {
  float most = LOWEST;
  if (FOURS) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i);
      most = greater(most, greater(greater(greater(LOWEST, v.x), v.y), greater(greater(LOWEST, v.z), v.w)));
    }
  } else {
    for (uint i = MEMBER; i < pc.n; i += MEMBERS) most = greater(most, LOAD(x.words, DTYPE, row * pc.n + i));
  }
  return float_of(team_max(key_of(most)));
}

float row_sum(uint row, float from) {
  float sum = 0.0, lost = 0.0;
  if (FOURS) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i), g = gradient4(first + i);
      add_exactly(sum, lost, (summand(v.x, g.x, from) + summand(v.y, g.y, from)) +
                             (summand(v.z, g.z, from) + summand(v.w, g.w, from)));
    }
  } else {
    for (uint i = MEMBER; i < pc.n; i += MEMBERS) {
      const uint e = row * pc.n + i;
      add_exactly(sum, lost, summand(LOAD(x.words, DTYPE, e), gradient(e), from));
    }
  }
  return team_add(sum);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = GROUP_INDEX * uint(TOGETHER), here = min(uint(TOGETHER), pc.rows - row);
  vec2 stats[2];
  for (uint t = 0u; t < here; t++) {
    const float most = NEEDS_MOST ? row_max(row + t) : 0.0;
    stats[t] = stats_of(most, row_sum(row + t, max_or_0(most)));
  }
  const uint lanes = per_word(DTYPE);
  if (KIND == LOGSUMEXP) {
    if (MEMBER != 0u) return;
    uint word = 0u;
    for (uint t = 0u; t < here; t++) word = insert_bits(word, float_to_bits(stats[t].x, DTYPE), DTYPE, t);
    y.words[row / lanes] = word;
    return;
  }
  if (FOURS) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i), g = gradient4(first + i);
      y4.words[first + i] = floatBitsToUint(vec4(result(v.x, g.x, stats[0]), result(v.y, g.y, stats[0]),
                                                 result(v.z, g.z, stats[0]), result(v.w, g.w, stats[0])));
    }
    return;
  }
  const uint first = row * pc.n / lanes, elements = here * pc.n;
  for (uint w = MEMBER; w * lanes < elements; w += MEMBERS) {
    uint word = 0u;
    for (uint lane = 0u; lane < lanes; lane++) {
      const uint e = w * lanes + lane, at = row * pc.n + e;
      if (e >= elements) break;
      const vec2 line = e >= pc.n ? stats[1] : stats[0];
      word = insert_bits(word, float_to_bits(result(LOAD(x.words, DTYPE, at), gradient(at), line), DTYPE), DTYPE, lane);
    }
    y.words[first + w] = word;
  }
}
