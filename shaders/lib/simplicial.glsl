// What the kernels of simplicial attention share (src/ops/simplicial.gpu.ts plans them): softmax over pairs of keys (j, k)
// of scale sum_l q_il k_jl k2_kl, weighing v_j v2_k. Each invocation works alone, over the keys of one side in turn and
// those of the other COLUMNS at a time; operands are [batch, time, heads, d], four elements are read at once.
#ifndef ATTN_SIMPLICIAL
#define ATTN_SIMPLICIAL
#include "lib/head.glsl"
#include "lib/softmax.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;         // of q, k, v, k2, v2, dy
layout(constant_id = 2) const int OUT = 0;           // of o and the gradients
layout(constant_id = 3) const int SCORE = 0;
layout(constant_id = 4) const bool VECTORS = false;  // d is a multiple of four: elements are read 8 or 16 bytes at a time
layout(constant_id = 5) const int WANTED = 0;        // which of two outputs this launch makes
layout(constant_id = 6) const uint QUADS = 16;       // of elements that a row has room for

const int TRILINEAR = 0, DETERMINANT = 1;  // = src/ops/simplicial.walk.ts
const uint COLUMNS = 8u;

// `units` rows, one to an invocation: queries of a head, or keys. w1, w2 are the windows of what is bound as k, v and as
// k2, v2; `sign` is that of the score by the order of the two. The mask begins at `mask_at`, if there is one.
PUSH(uint units; uint tq; uint tk; uint heads; uint group; uint d; uint causal; uint w1; uint w2; float scale; float sign;
     uint masked; uint mask_at;);

layout(std430, binding = 0) readonly buffer Q { uint q_words[]; };
layout(std430, binding = 0) readonly buffer Q2 { uvec2 q_pairs[]; };
layout(std430, binding = 0) readonly buffer Q4 { uvec4 q_quads[]; };
layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 1) readonly buffer K2 { uvec2 k_pairs[]; };
layout(std430, binding = 1) readonly buffer K4 { uvec4 k_quads[]; };
layout(std430, binding = 2) readonly buffer V { uint v_words[]; };
layout(std430, binding = 2) readonly buffer V2 { uvec2 v_pairs[]; };
layout(std430, binding = 2) readonly buffer V4 { uvec4 v_quads[]; };
layout(std430, binding = 3) readonly buffer L { uint k2_words[]; };
layout(std430, binding = 3) readonly buffer L2 { uvec2 k2_pairs[]; };
layout(std430, binding = 3) readonly buffer L4 { uvec4 k2_quads[]; };
layout(std430, binding = 4) readonly buffer W { uint v2_words[]; };
layout(std430, binding = 4) readonly buffer W2 { uvec2 v2_pairs[]; };
layout(std430, binding = 4) readonly buffer W4 { uvec4 v2_quads[]; };
#ifdef BACKWARD
layout(std430, binding = 5) readonly buffer Dy { uint dy_words[]; };
layout(std430, binding = 5) readonly buffer Dy2 { uvec2 dy_pairs[]; };
layout(std430, binding = 5) readonly buffer Dy4 { uvec4 dy_quads[]; };
layout(std430, binding = 6) readonly buffer Rows { float row_stats[]; };  // lse, delta of each query; then the mask
bool hidden(uint b, uint j) { return pc.masked != 0u && row_stats[pc.mask_at + b * pc.tk + j] == 0.0; }
#else
layout(std430, binding = 5) readonly buffer Mask { uint mask_words[]; };
bool hidden(uint b, uint j) { return pc.masked != 0u && LOAD_BITS(mask_words, BOOL, b * pc.tk + j) == 0u; }
#endif

vec4 widen(uvec2 w) {
  return vec4(bits_to_float(w.x & 0xffffu, DTYPE), bits_to_float(w.x >> 16, DTYPE), bits_to_float(w.y & 0xffffu, DTYPE),
              bits_to_float(w.y >> 16, DTYPE));
}

// Elements d to d + 3 of the row at `at`, zeros beyond its end.
#define READ(name, at, d)                                                                                       \
  (VECTORS ? (per_word(DTYPE) == 1u ? uintBitsToFloat(name##_quads[((at) + (d)) / 4u])                          \
                                    : widen(name##_pairs[((at) + (d)) / 4u]))                                   \
           : vec4(LOAD(name##_words, DTYPE, (at) + (d)),                                                        \
                  (d) + 1u < pc.d ? LOAD(name##_words, DTYPE, (at) + (d) + 1u) : 0.0,                           \
                  (d) + 2u < pc.d ? LOAD(name##_words, DTYPE, (at) + (d) + 2u) : 0.0,                           \
                  (d) + 3u < pc.d ? LOAD(name##_words, DTYPE, (at) + (d) + 3u) : 0.0))

#define EACH_QUAD(d) [[dont_unroll]] for (uint d = 0u; d < pc.d; d += 4u)
#define CLEAR(row) [[dont_unroll]] for (uint n = 0u; n < QUADS; ++n) row[n] = vec4(0.0);

// The places in a row that element l of a cross product is made of: chunk m is elements m, n + m, 2 n + m, n = d / 3.
uvec2 crossed(uint l) {
  const uint n = pc.d / 3u, c = l / n, m = l - c * n;
  return uvec2((c + 1u) % 3u * n + m, (c + 2u) % 3u * n + m);
}
#define AT(row, l) row[(l) / 4u][(l) % 4u]
#define ELEMENT(name, at, l) LOAD(name##_words, DTYPE, (at) + (l))

// to = a b, or sign b x a in every chunk, of two rows in buffers: a score is to . k.
#define COMBINE(to, A, a_row, B, b_row)                                                                         \
  if (SCORE == TRILINEAR) {                                                                                     \
    EACH_QUAD(d) to[d / 4u] = READ(A, a_row, d) * READ(B, b_row, d);                                            \
  } else {                                                                                                      \
    EACH_QUAD(d) to[d / 4u] = vec4(0.0);                                                                        \
    [[dont_unroll]] for (uint l = 0u; l < pc.d / 3u * 3u; ++l) {                                                \
      const uvec2 yz = crossed(l);                                                                              \
      AT(to, l) = pc.sign * (ELEMENT(B, b_row, yz.x) * ELEMENT(A, a_row, yz.y) -                                \
                             ELEMENT(B, b_row, yz.y) * ELEMENT(A, a_row, yz.x));                                \
    }                                                                                                           \
  }

// to += of a row in a buffer and one here: its gradients. sign b x a with b here and a there, times `order`.
#define COMBINE_INTO(to, A, a_row, b, order)                                                                    \
  if (SCORE == TRILINEAR) {                                                                                     \
    EACH_QUAD(d) to[d / 4u] += READ(A, a_row, d) * b[d / 4u];                                                   \
  } else {                                                                                                      \
    [[dont_unroll]] for (uint l = 0u; l < pc.d / 3u * 3u; ++l) {                                                \
      const uvec2 yz = crossed(l);                                                                              \
      AT(to, l) += pc.sign * (order) *                                                                          \
                   (AT(b, yz.x) * ELEMENT(A, a_row, yz.y) - AT(b, yz.y) * ELEMENT(A, a_row, yz.x));             \
    }                                                                                                           \
  }

// sums[c] = x . row of Z, for COLUMNS rows.
#define PRODUCT(sums, x, Z, z_row)                                                                              \
  [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) sums[c] = 0.0;                                                 \
  EACH_QUAD(d) {                                                                                                \
    const vec4 u = x[d / 4u];                                                                                   \
    [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) sums[c] += dot(u, READ(Z, z_row[c], d));                     \
  }

// x = x factor + sum of weights[c] rows of Z.
#define WEIGH(x, factor, weights, Z, z_row)                                                                     \
  EACH_QUAD(d) {                                                                                                \
    vec4 u = x[d / 4u] * (factor);                                                                              \
    [[unroll]] for (uint c = 0u; c < COLUMNS; ++c) u += weights[c] * READ(Z, z_row[c], d);                      \
    x[d / 4u] = u;                                                                                              \
  }

// A row of results, to the elements from `at` on. Rows of halves are whole words: the plan sees to it.
#define WRITE(words, at, x, factor)                                                                             \
  EACH_QUAD(d) {                                                                                                \
    const vec4 u = x[d / 4u] * (factor);                                                                        \
    [[unroll]] for (uint c = 0u; c < 4u; c += per_word(OUT)) {                                                  \
      uint word = float_to_bits(u[c], OUT);                                                                     \
      if (per_word(OUT) == 2u) word |= float_to_bits(u[c + 1u], OUT) << 16;                                     \
      if (d + c < pc.d) words[((at) + d + c) / per_word(OUT)] = word;                                           \
    }                                                                                                           \
  }

// Keys [x, y) that a window of w leaves to query i, and queries that see key j through it.
uvec2 reach(uint i, uint w) {
  const int at = int(i + pc.tk) - int(pc.tq), end = pc.causal != 0u ? at + 1 : at + int(w);
  const int from = clamp(at - int(w) + 1, 0, int(pc.tk));
  return uvec2(from, clamp(end, from, int(pc.tk)));
}
uvec2 reached_by(uint j, uint w) {
  const int at = int(j + pc.tq) - int(pc.tk), first = pc.causal != 0u ? at : at - int(w) + 1;
  const int from = clamp(first, 0, int(pc.tq));
  return uvec2(from, clamp(at + int(w), from, int(pc.tq)));
}

// First elements of rows: query i of head h, key j of head g.
uint query_row(uint b, uint i, uint h) { return ((b * pc.tq + i) * pc.heads + h) * pc.d; }
uint key_row(uint b, uint j, uint g) { return ((b * pc.tk + j) * (pc.heads / pc.group) + g) * pc.d; }
#endif
