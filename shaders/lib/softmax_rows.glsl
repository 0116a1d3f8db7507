// Softmax of rows of neighbours, a team to each; to two where a word holds the end of one and the start of the next.
// Spec constants: 1 dtype, 2 rows together, 3 rows are a multiple of a vector load.
#include "storage.glsl"
#include "softmax.glsl"
#include "team.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int TOGETHER = 1;
layout(constant_id = 3) const int VECTORS = 0;
PUSH(uint rows; uint n;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } x4;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 1) writeonly buffer Out4 { uvec4 words[]; } y4;

vec4 load4(uint i) {  // of float32
  return uintBitsToFloat(x4.words[i]);
}

float row_max(uint row) {
  float most = LOWEST;
  if (VECTORS != 0 && DTYPE == F32) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i);
      most = greater(most, greater(greater(greater(LOWEST, v.x), v.y), greater(greater(LOWEST, v.z), v.w)));
    }
  } else {
    for (uint i = MEMBER; i < pc.n; i += MEMBERS) most = greater(most, LOAD(x.words, DTYPE, row * pc.n + i));
  }
  return max_or_0(float_of(team_max(key_of(most))));
}

float row_sum(uint row, float most) {
  float sum = 0.0, lost = 0.0;
  if (VECTORS != 0 && DTYPE == F32) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i);
      add_exactly(sum, lost, (exp_below(v.x, most) + exp_below(v.y, most)) +
                             (exp_below(v.z, most) + exp_below(v.w, most)));
    }
  } else {
    for (uint i = MEMBER; i < pc.n; i += MEMBERS)
      add_exactly(sum, lost, exp_below(LOAD(x.words, DTYPE, row * pc.n + i), most));
  }
  return team_add(sum);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint row = GROUP_INDEX * uint(TOGETHER), here = min(uint(TOGETHER), pc.rows - row);
  float most[2], scale[2];
  for (uint t = 0u; t < here; t++) {
    most[t] = row_max(row + t);
    scale[t] = inverse(row_sum(row + t, most[t]));
  }
  if (VECTORS != 0 && DTYPE == F32) {
    const uint first = row * pc.n / 4u;
    for (uint i = MEMBER; i < pc.n / 4u; i += MEMBERS) {
      const vec4 v = load4(first + i);
      y4.words[first + i] =
          floatBitsToUint(scale[0] * vec4(exp_below(v.x, most[0]), exp_below(v.y, most[0]), exp_below(v.z, most[0]),
                                          exp_below(v.w, most[0])));
    }
    return;
  }
  const uint lanes = per_word(DTYPE), first = row * pc.n / lanes, elements = here * pc.n;
  for (uint w = MEMBER; w * lanes < elements; w += MEMBERS) {
    uint word = 0u;
    for (uint lane = 0u; lane < lanes; lane++) {
      const uint e = w * lanes + lane;
      if (e >= elements) break;
      const bool second = e >= pc.n;
      const float v = exp_below(LOAD(x.words, DTYPE, row * pc.n + e), second ? most[1] : most[0]);
      word = insert_bits(word, float_to_bits(v * (second ? scale[1] : scale[0]), DTYPE), DTYPE, lane);
    }
    y.words[first + w] = word;
  }
}
