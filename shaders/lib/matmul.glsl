// What the matmul kernels share: out[z] = act(a[z] b[z] + bias) + residual, z over up to six batch dimensions; and
// where it is wanted, what a b + bias was.
#ifndef ATTN_MATMUL
#define ATTN_MATMUL
#include "lib/head.glsl"
#include "lib/activation.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int IN = 0;   // dtype of a and b, and of what is kept
layout(constant_id = 2) const int OUT = 0;  // dtype of the result
layout(constant_id = 3) const bool TRANSPOSE_A = false;  // a is stored [K, M]
layout(constant_id = 4) const bool TRANSPOSE_B = false;  // b is stored [N, K]
layout(constant_id = 5) const int ACTIVATION = 0;
layout(constant_id = 6) const int BIAS = 0;  // 1 + its dtype, 0: none
layout(constant_id = 7) const int RESIDUAL = 0;
layout(constant_id = 8) const bool KEEP = false;

// Filled by src/ops/matmul.gpu.ts. Tiles run along n fastest, then m, then the batch. Steps are in matrices: 0 where an operand is stretched.
PUSH(uint m; uint n; uint k; uint tiles_m; uint tiles_n; uint across; int batch_rank; uint sizes[6]; uint a_steps[6];
     uint b_steps[6];);

layout(std430, binding = 0) readonly buffer A { uint a_words[]; };
layout(std430, binding = 1) readonly buffer B { uint b_words[]; };
layout(std430, binding = 2) readonly buffer Bias { uint bias_words[]; };
layout(std430, binding = 3) writeonly buffer Out { uint out_words[]; };
layout(std430, binding = 4) readonly buffer Residual { uint residual_words[]; };
layout(std430, binding = 5) writeonly buffer Kept { uint kept_words[]; };

struct Tile {
  uint row, col;             // in tiles
  uint a_at, b_at, out_at;   // first element of each matrix
};

// First elements of the operands' matrices for batch z.
uvec2 batch_at(uint z) {
  uint a = 0, b = 0;
  for (int d = pc.batch_rank - 1; d >= 0; --d) {
    const uint i = z % pc.sizes[d];
    z /= pc.sizes[d];
    a += i * pc.a_steps[d];
    b += i * pc.b_steps[d];
  }
  return uvec2(a * pc.m * pc.k, b * pc.k * pc.n);
}

Tile tile_of(uint group) {
  Tile t;
  t.col = group % pc.tiles_n;
  const uint rest = group / pc.tiles_n;
  t.row = rest % pc.tiles_m;
  const uint z = rest / pc.tiles_m;
  const uvec2 at = batch_at(z);
  t.a_at = at.x;
  t.b_at = at.y;
  t.out_at = z * pc.m * pc.n;
  return t;
}

// Neighbours of a row that are stored together: whole words of the result, and of what is kept.
uint together() { return max(per_word(OUT), KEEP ? per_word(IN) : 1u); }

// Element `at` of the result, in column `col`, from a b; `x` becomes what is kept.
float epilogue(inout float x, uint at, uint col) {
  if (BIAS != 0) x += LOAD(bias_words, BIAS - 1, col);
  const float y = activate(ACTIVATION, x);
  return RESIDUAL == 0 ? y : y + LOAD(residual_words, RESIDUAL - 1, at);
}

// Stores one sum, or two neighbours, at element `at`; `pair` says that the second is there.
void put(float first, float second, uint at, uint col, bool pair) {
  const uint y = float_to_bits(epilogue(first, at, col), OUT);
  const uint next = col + 1u == pc.n ? 0u : col + 1u;
  const uint z = pair ? float_to_bits(epilogue(second, at + 1u, next), OUT) : 0u;
  if (per_word(OUT) == 2u) {
    out_words[at / 2u] = y | z << 16;
  } else {
    out_words[at] = y;
    if (pair) out_words[at + 1u] = z;
  }
  if (!KEEP) return;
  const uint u = float_to_bits(first, IN), v = pair ? float_to_bits(second, IN) : 0u;
  if (per_word(IN) == 2u) {
    kept_words[at / 2u] = u | v << 16;
  } else {
    kept_words[at] = u;
    if (pair) kept_words[at + 1u] = v;
  }
}
#endif
