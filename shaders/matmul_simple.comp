#version 450
// The kernel that runs everywhere: an invocation makes one word of the result (or of what is kept), element by
// element, so rows of halves may start in the middle of a word. pc.tiles_m is the number of elements of the result.
#extension GL_GOOGLE_include_directive : require
#include "lib/matmul.glsl"

float sum_at(uint at) {
  const uint a_step = TRANSPOSE_A ? pc.m : 1u, b_step = TRANSPOSE_B ? 1u : pc.n;
  const uint col = at % pc.n, row = at / pc.n % pc.m;
  const uvec2 matrices = batch_at(at / pc.n / pc.m);
  uint a = matrices.x + row * (TRANSPOSE_A ? 1u : pc.k), b = matrices.y + col * (TRANSPOSE_B ? pc.k : 1u);
  float sum = 0.0;
  for (uint k = 0; k < pc.k; ++k, a += a_step, b += b_step) sum += LOAD(a_words, IN, a) * LOAD(b_words, IN, b);
  return sum;
}

void main() {
  const uint group = GROUP_INDEX;
  const uint per = together();
  const uint at = (group * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * per;
  if (group >= pc.count || at >= pc.tiles_m) return;
  const bool pair = per == 2u && at + 1u < pc.tiles_m;
  put(sum_at(at), pair ? sum_at(at + 1u) : 0.0, at, at % pc.n, pair);
}
