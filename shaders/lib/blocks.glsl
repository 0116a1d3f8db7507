// An optimiser's step over flat tensors of whole 64-element blocks, LANES invocations to a block, which take every
// LANES-th element of it. Plan and tables: src/ops/flat.ts.
#ifndef ATTN_BLOCKS
#define ATTN_BLOCKS
#include "storage.glsl"

const uint BLOCK = 64u, COLUMNS = 8u;                                // = src/ops/flat.ts
const uint NORM = 0u, COEFFICIENT = 1u, FINITE = 2u, STEP = 3u;  // places in scalars
layout(constant_id = 1) const uint LANES = 16;
PUSH(uint invocations; uint rows;);

// `row` is where the hyper-parameters of the invocation's block begin; it returns where there is nothing to do.
#define FIND_BLOCK(block, row, first)                                               \
  if (GROUP_INDEX >= pc.count) return;                                              \
  const uint invocation = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x; \
  if (invocation >= pc.invocations) return;                                         \
  const uint block = invocation / LANES, first = block * BLOCK + invocation % LANES, \
             row = COLUMNS * LOAD_BITS(blocks.words, U8, block)

// 1 - e^-x for x >= 0, without the loss of a subtraction.
float one_minus_exp(float x) {
  if (x > 0.5) return 1.0 - exp_safe(-x);
  return x * (1.0 - x / 2.0 * (1.0 - x / 3.0 * (1.0 - x / 4.0 * (1.0 - x / 5.0 * (1.0 - x / 6.0 * (1.0 - x / 7.0 * (1.0 - x / 8.0)))))));
}
#endif
