#version 450
// The kernel that runs everywhere: an invocation makes one word of the result, element by element, so rows of
// halves may start in the middle of a word. pc.tiles_m is the number of elements of the result.
#extension GL_GOOGLE_include_directive : require
#include "lib/matmul.glsl"

void main() {
  const uint group = GROUP_INDEX;
  const uint per = per_word(OUT);
  const uint first = (group * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * per;
  if (group >= pc.count || first >= pc.tiles_m) return;
  const uint a_step = TRANSPOSE_A ? pc.m : 1u, b_step = TRANSPOSE_B ? 1u : pc.n;
  uint word = 0;
  for (uint lane = 0; lane < per && first + lane < pc.tiles_m; ++lane) {
    const uint at = first + lane;
    const uint col = at % pc.n, row = at / pc.n % pc.m;
    const uvec2 matrices = batch_at(at / pc.n / pc.m);
    uint a = matrices.x + row * (TRANSPOSE_A ? 1u : pc.k), b = matrices.y + col * (TRANSPOSE_B ? pc.k : 1u);
    float sum = 0.0;
    for (uint k = 0; k < pc.k; ++k, a += a_step, b += b_step) sum += LOAD(a_words, IN, a) * LOAD(b_words, IN, b);
    word = insert_bits(word, float_to_bits(epilogue(sum, col), OUT), OUT, lane);
  }
  out_words[first / per] = word;
}
