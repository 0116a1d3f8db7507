// What the kernels of linear attention share: S_t = diag(a_t) S_{t-1} + k_t v_tᵀ, o_t = S_tᵀ q_t, a = exp(decay), in
// chunks of `chunk` tokens. Operands are [batch, time, heads, channels]; states are fp32 [batch, heads, chunks, dk, dv],
// products of the tokens of a chunk fp32 [batch, heads, time, chunk]. Decays are multiplied one by one and never divided
// by: nothing overflows, however strong they are.
#ifndef ATTN_LINEAR_ATTENTION
#define ATTN_LINEAR_ATTENTION
#include "head.glsl"
#include "storage.glsl"
#include "vectors.glsl"

layout(constant_id = 1) const int DTYPE = 0;         // of q, k, v, dy
layout(constant_id = 2) const int OTHER = 0;         // of what is written, or of what may come decayed, in fp32
layout(constant_id = 3) const bool DECAY = false;
layout(constant_id = 4) const bool VECTORS = false;  // dk and dv are multiples of four
layout(constant_id = 5) const bool BACK = false;     // from the last token to the first

// Filled by src/ops/linear-attention.gpu.ts. `units` of work; `lines` heads of the batch.
PUSH(uint units; uint lines; uint t; uint heads; uint dk; uint dv; uint chunk; uint chunks;);

// Four neighbours of row `row` of `channels` elements, from element d on; past its end zeros.
#define FETCH(NAME, AS, row, channels, d) FETCH_AT(NAME, AS, (row) * (channels) + (d), below(d, channels))
#define FETCH_AT(NAME, AS, at, valid)                                                               \
  (VECTORS ? ((valid) == 0u ? vec4(0.0) : LOAD4(NAME, AS, (at) / 4u))                               \
           : vec4((valid) > 0u ? LOAD(NAME.words, AS, at) : 0.0,                                    \
                  (valid) > 1u ? LOAD(NAME.words, AS, (at) + 1u) : 0.0,                             \
                  (valid) > 2u ? LOAD(NAME.words, AS, (at) + 2u) : 0.0,                             \
                  (valid) > 3u ? LOAD(NAME.words, AS, (at) + 3u) : 0.0))
uint below(uint at, uint end) { return at < end ? min(end - at, 4u) : 0u; }

// Row of token t of head `line` of the batch, in [batch, time, heads].
uint row_of(uint line, uint t) { return (line / pc.heads * pc.t + t) * pc.heads + line % pc.heads; }
// Row i of the state of a chunk.
uint state_row(uint line, uint chunk, uint i) { return (line * pc.chunks + chunk) * pc.dk + i; }
// The product of token t and token s of its chunk.
uint pair_at(uint line, uint t, uint s) { return (line * pc.t + t) * pc.chunk + s % pc.chunk; }

// Which invocation this is; there may be no work for it.
uint unit_of() { return GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x; }
#endif
