#version 450
// The heads of a token from its factors, y_h = sum_r a_hr b_r / R, group by group of ranks (0: the heads as they are in
// b), or the gradients of a and b from dy. An invocation makes four neighbours of y or db where D is a multiple of 4,
// else a word; of da always a word. Spec constants: 1 dtype, 2 what is made, 3 four at a time.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/vectors.glsl"
const int Y = 0, DA = 1, DB = 2;  // = src/ops/tensor-product.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int MAKES = 0;
layout(constant_id = 3) const int FOURS = 0;
// Of a token: elements of a, rows of b, ranks of the groups.
PUSH(uint units; uint size; uint heads; uint channels; uint width; uint rows; uint groups; uint r0; uint r1; uint r2; uint r3;);
FLOATS(0, readonly, dy)
FLOATS(1, readonly, a)
FLOATS(2, readonly, b)
FLOATS(3, writeonly, made)

// A group of heads of a token: where its parts begin, in elements of a and rows of b and y.
struct Group {
  uint rank, a, b, y;
};

// The group that holds a place, counted within a token in what is made, and that place within the group.
Group group_of(uint token, inout uint place) {
  const uint ranks[4] = uint[4](pc.r0, pc.r1, pc.r2, pc.r3);
  Group g = Group(pc.r0, token * pc.width, token * pc.rows, token * pc.groups * pc.heads);
  for (uint i = 0u; i < pc.groups; i++) {
    g.rank = ranks[i];
    const uint rows = g.rank == 0u ? pc.heads : g.rank;
    const uint here = MAKES == Y ? pc.heads : MAKES == DA ? pc.heads * g.rank : rows;
    if (place < here) break;
    place -= here;
    g.a += pc.heads * g.rank, g.b += rows, g.y += pc.heads;
  }
  return g;
}

float element_of_row(uint token, uint row, uint d) {
  uint place = row;
  const Group g = group_of(token, place);
  if (MAKES == Y) {
    if (g.rank == 0u) return LOAD(b.words, DTYPE, (g.b + place) * pc.channels + d);
    float sum = 0.0;
    for (uint r = 0u; r < g.rank; r++)
      sum += LOAD(a.words, DTYPE, g.a + place * g.rank + r) * LOAD(b.words, DTYPE, (g.b + r) * pc.channels + d);
    return sum / float(g.rank);
  }
  if (g.rank == 0u) return LOAD(dy.words, DTYPE, (g.y + place) * pc.channels + d);
  float sum = 0.0;
  for (uint h = 0u; h < pc.heads; h++)
    sum += LOAD(a.words, DTYPE, g.a + h * g.rank + place) * LOAD(dy.words, DTYPE, (g.y + h) * pc.channels + d);
  return sum / float(g.rank);
}

vec4 four_of_row(uint token, uint row, uint d) {
  const uint quarters = pc.channels / 4u, at = d / 4u;
  uint place = row;
  const Group g = group_of(token, place);
  if (MAKES == Y) {
    if (g.rank == 0u) return LOAD4(b, DTYPE, (g.b + place) * quarters + at);
    vec4 sum = vec4(0.0);
    for (uint r = 0u; r < g.rank; r++)
      sum += LOAD(a.words, DTYPE, g.a + place * g.rank + r) * LOAD4(b, DTYPE, (g.b + r) * quarters + at);
    return sum / float(g.rank);
  }
  if (g.rank == 0u) return LOAD4(dy, DTYPE, (g.y + place) * quarters + at);
  vec4 sum = vec4(0.0);
  for (uint h = 0u; h < pc.heads; h++)
    sum += LOAD(a.words, DTYPE, g.a + h * g.rank + place) * LOAD4(dy, DTYPE, (g.y + h) * quarters + at);
  return sum / float(g.rank);
}

// <dy_h, b_r> / R.
float element_of_a(uint token, uint place) {
  const Group g = group_of(token, place);
  const uint h = place / g.rank, r = place - h * g.rank;
  const uint from = (g.y + h) * pc.channels, to = (g.b + r) * pc.channels;
  float sum = 0.0;
  if (FOURS != 0)
    for (uint d = 0u; d < pc.channels; d += 4u)
      sum += dot(LOAD4(dy, DTYPE, (from + d) / 4u), LOAD4(b, DTYPE, (to + d) / 4u));
  else
    for (uint d = 0u; d < pc.channels; d++) sum += LOAD(dy.words, DTYPE, from + d) * LOAD(b.words, DTYPE, to + d);
  return sum / float(g.rank);
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint u = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (u >= pc.units) return;
  const uint per_token = MAKES == DA ? pc.width : (MAKES == Y ? pc.groups * pc.heads : pc.rows) * pc.channels;
  if (MAKES != DA && FOURS != 0) {
    const uint e = 4u * u, token = e / per_token, in_token = e - token * per_token;
    const vec4 v = four_of_row(token, in_token / pc.channels, in_token % pc.channels);
    STORE4(made, DTYPE, u, v)
    return;
  }
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = u * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const uint token = e / per_token, in_token = e - token * per_token;
    const float v = MAKES == DA ? element_of_a(token, in_token)
                                : element_of_row(token, in_token / pc.channels, in_token % pc.channels);
    word = insert_bits(word, float_to_bits(v, DTYPE), DTYPE, lane);
  }
  made.words[u] = word;
}
