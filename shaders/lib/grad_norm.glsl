// The global norm of gradients in flat tensors of 64-element blocks: src/ops/grad-norm.ts. Stages: sums of squares of
// segments of blocks; those to the norm, the scalars and the state; a step more for each block that takes part.
#ifndef ATTN_GRAD_NORM
#define ATTN_GRAD_NORM
#include "storage.glsl"
#include "sum.glsl"

const uint BLOCK = 64u, NO_GROUP = 255u;    // = src/ops/flat.ts
const int PARTS = 0, JOIN = 1, STEPS = 2;  // = src/ops/grad-norm.ts
layout(constant_id = 1) const int STAGE = 0;
PUSH(uint invocations; uint blocks; uint segment; uint first_part; uint parts;);
layout(set = 0, binding = 0) readonly buffer G { float of[]; } grads;
layout(set = 0, binding = 1) readonly buffer B { uint words[]; } blocks;
layout(set = 0, binding = 2) readonly buffer L { float max_norm; };
layout(set = 0, binding = 3) buffer A { float of[4]; } state;
layout(set = 0, binding = 4) buffer T { float of[]; } steps;
layout(set = 0, binding = 5) buffer S { float of[4]; } scalars;
layout(set = 0, binding = 6) buffer P { float of[]; } parts;

bool left_out(uint block) { return LOAD_BITS(blocks.words, U8, block) == NO_GROUP; }

void conclude(float sum) {
  const bool finite = finite_bits(sum);
  const float norm = finite ? sqrt(sum) : sum;
  state.of[finite ? 0 : 1] += 1.0;
  scalars.of[0] = norm;
  scalars.of[1] = !finite ? 0.0 : max_norm > 0.0 ? min(1.0, max_norm / (norm + 1e-6)) : 1.0;
  scalars.of[2] = finite ? 1.0 : 0.0;
  scalars.of[3] = state.of[0];
}

void count_step(uint block) {
  if (block < pc.blocks && !left_out(block) && scalars.of[2] != 0.0) steps.of[block] += 1.0;
}
#endif
