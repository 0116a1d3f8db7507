// Rows of neighbours, a team to each word of output or to each segment of a row (TO_PARTS). `origin` is the element
// at which the bound window of the input begins. Spec constant 4: everything is a multiple of a vector load.
#include "storage.glsl"
#include "reduce.glsl"
#include "team.glsl"
layout(constant_id = 4) const int VECTORS = 0;
PUSH(uint first; uint outputs; uint n; uint segments; uint segment; uint origin; float divide;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } x4;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

const uint BLOCK = 64u;  // loads of a member between joins

void take_word(inout Partial p, inout vec4 sums, uvec4 v, uint at) {
  if (FLOAT_SUM && DTYPE == F32) {
    sums += uintBitsToFloat(v);
  } else if (FLOAT_SUM && DTYPE == BF16) {
    sums += uintBitsToFloat(v << 16);
    sums += uintBitsToFloat(v & 0xffff0000u);
  } else {
    [[unroll]] for (int c = 0; c < 4; c++)
      for (uint lane = 0u; lane < per_word(DTYPE); lane++)
        take(p, extract_bits(v[c], DTYPE, lane), at + uint(c) * per_word(DTYPE) + lane);
  }
}

// Reduces n elements from `start` of the window; they are number `at` and on of the row.
Partial reduce_row(uint start, uint n, uint at) {
  Partial total = nothing();
  const uint unit = VECTORS != 0 ? 4u * per_word(DTYPE) : 1u, loads = n / unit, begin = start / unit;
  for (uint block = MEMBER; block < loads; block += BLOCK * MEMBERS) {
    Partial part = nothing();
    vec4 sums = vec4(0.0);
    const uint end = min(loads, block + BLOCK * MEMBERS);
    for (uint i = block; i < end; i += MEMBERS) {
      if (VECTORS != 0) take_word(part, sums, x4.words[begin + i], at + i * unit);
      else take(part, LOAD_BITS(x.words, DTYPE, begin + i), at + i);
    }
    part.sum += (sums.x + sums.y) + (sums.z + sums.w);
    join(total, part);
  }
  if (FLOAT_SUM) {
    total.sum = team_add(total.sum - total.lost);
  } else if (INT_SUM) {
    total.word = team_add(total.word);
  } else {
    const uint key = team_max(total.key);
    if (OP == ARGMAX) total.at = team_min(total.key == key ? total.at : ~0u);
    total.key = key;
  }
  return total;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = pc.first + GROUP_INDEX;
  if (STAGE == TO_PARTS) {
    const uint at = unit % pc.segments * pc.segment;
    const Partial part =
        reduce_row(unit / pc.segments * pc.n + at - pc.origin, min(pc.segment, pc.n - at), at);
    if (MEMBER == 0u) {
      STORE_PART(y.words, unit, part)
    }
    return;
  }
  const int dtype = out_dtype();
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(dtype); lane++) {
    const uint o = unit * per_word(dtype) + lane;
    if (o >= pc.outputs) break;
    const Partial total = reduce_row(o * pc.n - pc.origin, pc.n, 0u);
    word = insert_bits(word, result_bits(total, pc.divide), dtype, lane);
  }
  if (MEMBER == 0u) y.words[unit] = word;
}
