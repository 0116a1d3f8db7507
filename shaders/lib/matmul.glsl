// What the matmul kernels share: out[z] = act(a[z] b[z] + bias), z over up to six batch dimensions.
#ifndef ATTN_MATMUL
#define ATTN_MATMUL
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int IN = 0;   // dtype of a, b and bias
layout(constant_id = 2) const int OUT = 0;  // dtype of the result
layout(constant_id = 3) const bool TRANSPOSE_A = false;  // a is stored [K, M]
layout(constant_id = 4) const bool TRANSPOSE_B = false;  // b is stored [N, K]
layout(constant_id = 5) const int ACTIVATION = 0;        // none, relu, gelu, gelu_tanh, silu
layout(constant_id = 6) const bool BIAS = false;

// Filled by src/ops/matmul.gpu.ts. Tiles run along n fastest, then m, then the batch. Steps are in matrices: 0 where an operand is stretched.
PUSH(uint m; uint n; uint k; uint tiles_m; uint tiles_n; uint across; int batch_rank; uint sizes[6]; uint a_steps[6];
     uint b_steps[6];);

layout(std430, binding = 0) readonly buffer A { uint a_words[]; };
layout(std430, binding = 1) readonly buffer B { uint b_words[]; };
layout(std430, binding = 2) readonly buffer Bias { uint bias_words[]; };
layout(std430, binding = 3) writeonly buffer Out { uint out_words[]; };

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

// The same formulas as shaders/unary.comp: fused and unfused agree.
float epilogue(float x, uint col) {
  if (BIAS) x += LOAD(bias_words, IN, col);
  if (ACTIVATION == 1) return x < 0.0 ? 0.0 : x;
  if (ACTIVATION == 2) return 0.5 * x * (1.0 + erf_safe(x * 0.7071067811865476));
  if (ACTIVATION == 3) return x * sigmoid_safe(x * (1.5957691216057308 + 0.07135481282752194 * x * x));
  if (ACTIVATION == 4) return x * sigmoid_safe(x);
  return x;
}
#endif
