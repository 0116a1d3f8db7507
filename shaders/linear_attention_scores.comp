#version 450
// Products of queries and keys of a chunk with the decays between them: sum_i q_t k_s a_{s+1} … a_t for s <= t. An
// invocation walks back from a token, four channels at a time, and adds to its scores in memory of its own.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
FLOATS(0, readonly, q)
FLOATS(1, readonly, k)
FLOATS(2, readonly, a)
layout(std430, binding = 3) writeonly buffer Pairs { float pairs[]; };
const uint CHUNK = 32;  // = src/ops/linear-attention.gpu.ts

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint line = unit % pc.lines, t = unit / pc.lines, begin = t / CHUNK * CHUNK, row = row_of(line, t);
  float score[CHUNK];
  [[dont_unroll]] for (uint s = 0; s < CHUNK; ++s) score[s] = 0.0;
  [[dont_unroll]] for (uint i = 0; i < pc.dk; i += 4u) {
    vec4 w = FETCH(q, DTYPE, row, pc.dk, i);
    [[dont_unroll]] for (uint s = t + 1u; s-- > begin;) {
      const uint other = row_of(line, s);
      score[s - begin] += dot(w, FETCH(k, DTYPE, other, pc.dk, i));
      w *= FETCH(a, F32, other, pc.dk, i);
    }
  }
  [[dont_unroll]] for (uint s = begin; s <= t; ++s) pairs[pair_at(line, t, s)] = score[s - begin];
}
