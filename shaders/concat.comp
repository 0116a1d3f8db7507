#version 450
// Up to seven tensors one after the other: elements [first, ends[6]) of each output row of `total`. A word that holds
// elements of other launches too keeps them; launches are ordered. Spec constant 1: dtype.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int VECTORS = 0;  // everything is counted in units of 16 bytes, one to an invocation
PUSH(uint words; uint size; uint total; uint first; uint ends[7];);
layout(set = 0, binding = 0) readonly buffer In0 { uint words[]; } x0;
layout(set = 0, binding = 0) readonly buffer Vectors0 { uvec4 words[]; } v0;
layout(set = 0, binding = 1) readonly buffer In1 { uint words[]; } x1;
layout(set = 0, binding = 1) readonly buffer Vectors1 { uvec4 words[]; } v1;
layout(set = 0, binding = 2) readonly buffer In2 { uint words[]; } x2;
layout(set = 0, binding = 2) readonly buffer Vectors2 { uvec4 words[]; } v2;
layout(set = 0, binding = 3) readonly buffer In3 { uint words[]; } x3;
layout(set = 0, binding = 3) readonly buffer Vectors3 { uvec4 words[]; } v3;
layout(set = 0, binding = 4) readonly buffer In4 { uint words[]; } x4;
layout(set = 0, binding = 4) readonly buffer Vectors4 { uvec4 words[]; } v4;
layout(set = 0, binding = 5) readonly buffer In5 { uint words[]; } x5;
layout(set = 0, binding = 5) readonly buffer Vectors5 { uvec4 words[]; } v5;
layout(set = 0, binding = 6) readonly buffer In6 { uint words[]; } x6;
layout(set = 0, binding = 6) readonly buffer Vectors6 { uvec4 words[]; } v6;
layout(set = 0, binding = 7) buffer Out { uint words[]; } y;
layout(set = 0, binding = 7) writeonly buffer Out4 { uvec4 words[]; } y4;

// Element `at` of row `row` of piece k, which begins where the piece before it ends.
#define BITS(k, from) LOAD_BITS(x##k.words, DTYPE, row * (pc.ends[k] - (from)) + at - (from))
#define VECTOR(k, from) v##k.words[row * (pc.ends[k] - (from)) + at - (from)]
#define PICK(TYPE, NAME, PIECE)                             \
  TYPE NAME(uint row, uint at) {                            \
    if (at < pc.ends[0]) return PIECE(0, pc.first);         \
    if (at < pc.ends[1]) return PIECE(1, pc.ends[0]);       \
    if (at < pc.ends[2]) return PIECE(2, pc.ends[1]);       \
    if (at < pc.ends[3]) return PIECE(3, pc.ends[2]);       \
    if (at < pc.ends[4]) return PIECE(4, pc.ends[3]);       \
    if (at < pc.ends[5]) return PIECE(5, pc.ends[4]);       \
    return PIECE(6, pc.ends[5]);                            \
  }
PICK(uint, pick, BITS)
PICK(uvec4, pick_vector, VECTOR)

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  if (VECTORS != 0) {
    const uint at = w % pc.total;
    if (at >= pc.first && at < pc.ends[6]) y4.words[w] = pick_vector(w / pc.total, at);
    return;
  }
  uint word = 0u, made = 0u, lanes = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    const uint row = e / pc.total, at = e % pc.total;
    if (at < pc.first || at >= pc.ends[6]) continue;
    word = insert_bits(word, pick(row, at), DTYPE, lane);
    made = insert_bits(made, per_word(DTYPE) == 2u ? 0xffffu : per_word(DTYPE) == 4u ? 0xffu : ~0u, DTYPE, lane);
    lanes++;
  }
  if (lanes == 0u) return;
  y.words[w] = made == ~0u ? word : word | (y.words[w] & ~made);
}
