// What the kernels of the norms share: sums over a row by its team. src/ops/norm.gpu.ts is the other side.
#ifndef ATTN_NORM
#define ATTN_NORM
#include "vectors.glsl"
#include "sum.glsl"
#include "team.glsl"

const int NONE = 15;      // the dtype of an operand that is not there
const uint BLOCK = 64u;   // turns of a member between carries
// sum += what EXPRESSION(i) is for the members' share of i in [0, units), carried now and then.
#define TEAM_SUM(TYPE, units, i, expression, fold)                           \
  float total = 0.0, lost = 0.0;                                             \
  for (uint block = MEMBER; block < (units); block += BLOCK * MEMBERS) {     \
    TYPE part = TYPE(0.0);                                                   \
    const uint end = min(units, block + BLOCK * MEMBERS);                    \
    for (uint i = block; i < end; i += MEMBERS) part += expression;          \
    add_exactly(total, lost, fold);                                          \
  }                                                                          \
  return team_add(total);

float fold4(vec4 v) { return (v.x + v.y) + (v.z + v.w); }
#endif
