// Tiles of the attention kernels that share memory: a group makes BR rows, 16 threads abreast, BR / gl_WorkGroupSize.x
// * 16 rows to a thread, from tiles of BC columns. In forward and dq rows are queries and columns keys; in dkv the
// other way round. Two kinds of products alternate:
//   tile_product   acc[row][column] = sum_d x[row][d] y[column][d]     both operands in slices of DEPTH elements
//   tile_sum       sums[row][d] += sum_column weight[column][row] z[column][d]    z in slices of SLICE columns
// Slices and weights lie depth-major in rows of 64 or BR floats without padding; the quad of floats at depth d is
// stored at place quad ^ (d / 4 % 8), so that both the transposing stores and the reads of four spread over the banks.
#ifndef ATTN_ATTENTION_TILES
#define ATTN_ATTENTION_TILES

layout(constant_id = 8) const uint BR = 64;     // rows of a tile: a multiple of 32
layout(constant_id = 9) const uint DEPTH = 32;  // elements of a slice: a multiple of 4
layout(constant_id = 10) const uint SLICE = 32;  // columns of a slice: a divisor of BC, a multiple of 4
layout(constant_id = 11) const uint TM = 4;      // rows of a thread: a multiple of 4
layout(constant_id = 12) const uint TD = 4;      // elements of a head that a thread sums: 16 TD >= pc.d, even for halves
layout(constant_id = 13) const uint RUN = 4;     // neighbours among them: 4, 2 or 1
layout(constant_id = 14) const uint LEFT = 4096;   // floats: (BR + BC) DEPTH for slices, BR BC for weights
layout(constant_id = 15) const uint RIGHT = 2048;  // floats: SLICE 16 TD for slices, 16 BR for a row's statistics

const uint BC = 64u, TN = 4u;

shared float left[LEFT];
shared float right[RIGHT];

const int IS_Q = 0, IS_K = 1, IS_V = 2, IS_DY = 3;

vec4 fetch(int what, uint at, uint valid) {
  if (what == IS_Q) return FETCH(q, at, valid);
  if (what == IS_K) return FETCH(k, at, valid);
#ifdef BACKWARD
  if (what == IS_DY) return FETCH(dy, at, valid);
#endif
  return FETCH(v, at, valid);
}

// Where rows of an operand lie: row r from `at + r * step` on, `count` of them.
struct Strip {
  uint at, step, count;
};

// The second vectors of queries.
Strip second(Strip q) { return Strip(q.at + pc.d, q.step, q.count); }

uint thread_x() { return gl_LocalInvocationID.x % 16u; }
uint thread_y() { return gl_LocalInvocationID.x / 16u; }
uint row_of(uint i) { return thread_y() * TM + i; }         // of the tile
uint column_of(uint j) { return thread_x() * TN + j; }
// The first of RUN neighbouring elements of a head.
uint element_of(uint run) { return (run * 16u + thread_x()) * RUN; }

// Place of a quad at a depth.
uint swizzled(uint quad, uint depth) { return (quad ^ (depth / 4u % 8u)) * 4u; }

// A slice of a strip, elements [d0, d0 + DEPTH) of `rows` rows, depth-major from `to` on.
void load_slice(int what, Strip s, uint rows, uint d0, uint to) {
  for (uint t = gl_LocalInvocationID.x; t < rows * DEPTH / 4u; t += gl_WorkGroupSize.x) {
    const uint d = t % (DEPTH / 4u) * 4u, r = t / (DEPTH / 4u);
    const vec4 x = fetch(what, s.at + r * s.step + d0 + d, r < s.count ? below(d0 + d, pc.d) : 0u);
    [[unroll]] for (uint c = 0; c < 4u; ++c) left[to + (d + c) * rows + swizzled(r / 4u, d) + r % 4u] = x[c];
  }
}

#define TILE_PRODUCT(acc, X, x_strip, Y, y_strip)                                                       \
  {                                                                                                     \
    [[unroll]] for (uint i = 0; i < TM; ++i)                                                            \
      [[unroll]] for (uint j = 0; j < TN; ++j) acc[i][j] = 0.0;                                         \
    for (uint d0 = 0; d0 < pc.d; d0 += DEPTH) {                                                         \
      barrier();                                                                                        \
      load_slice(X, x_strip, BR, d0, 0u);                                                               \
      load_slice(Y, y_strip, BC, d0, BR * DEPTH);                                                       \
      barrier();                                                                                        \
      for (uint d = 0; d < DEPTH; d += 4u) {                                                            \
        const uint y_place = swizzled(thread_x(), d);                                                   \
        [[unroll]] for (uint c = d; c < d + 4u; ++c) {                                                  \
          float x[TM], y[TN];                                                                           \
          [[unroll]] for (uint i = 0; i < TM; ++i)                                                      \
            x[i] = left[c * BR + swizzled(row_of(i) / 4u, d) + i % 4u];                                 \
          [[unroll]] for (uint j = 0; j < TN; ++j) y[j] = left[BR * DEPTH + c * BC + y_place + j];      \
          [[unroll]] for (uint i = 0; i < TM; ++i)                                                      \
            [[unroll]] for (uint j = 0; j < TN; ++j) acc[i][j] += x[i] * y[j];                          \
        }                                                                                               \
      }                                                                                                 \
    }                                                                                                   \
  }

// The weights of a tile for TILE_SUM. The caller sees to it that nobody still reads `left`.
#define STORE_WEIGHTS(w)                                                                                \
  [[unroll]] for (uint j = 0; j < TN; ++j)                                                              \
    [[unroll]] for (uint i = 0; i < TM; ++i)                                                            \
      left[column_of(j) * BR + swizzled(row_of(i) / 4u, column_of(j)) + i % 4u] = w[i][j];

#define TILE_SUM(sums, Z, z_strip)                                                                      \
  for (uint c0 = 0; c0 < min(z_strip.count, BC); c0 += SLICE) {                                         \
    barrier();                                                                                          \
    for (uint t = gl_LocalInvocationID.x; t < SLICE * TD * 4u; t += gl_WorkGroupSize.x) {               \
      const uint d = t % (TD * 4u) * 4u, c = t / (TD * 4u);                                             \
      const vec4 z = fetch(Z, z_strip.at + (c0 + c) * z_strip.step + d,                                 \
                           c0 + c < z_strip.count ? below(d, pc.d) : 0u);                               \
      [[unroll]] for (uint n = 0; n < 4u; ++n) right[c * TD * 16u + d + n] = z[n];                      \
    }                                                                                                   \
    barrier();                                                                                          \
    for (uint c = 0; c < SLICE; c += 4u) {                                                              \
      [[unroll]] for (uint k = c; k < c + 4u; ++k) {                                                    \
        float w[TM], z[TD];                                                                             \
        [[unroll]] for (uint i = 0; i < TM; ++i)                                                        \
          w[i] = left[(c0 + k) * BR + swizzled(row_of(i) / 4u, c0 + c) + i % 4u];                       \
        [[unroll]] for (uint n = 0; n < TD; ++n)                                                        \
          z[n] = right[k * TD * 16u + element_of(n / RUN) + n % RUN];                                   \
        [[unroll]] for (uint i = 0; i < TM; ++i)                                                        \
          [[unroll]] for (uint n = 0; n < TD; ++n) sums[i][n] += w[i] * z[n];                           \
      }                                                                                                 \
    }                                                                                                   \
  }

// Each thread of a row puts its number down; all 16 read them back. Nobody may still read `right`.
#define GATHER_ROWS(x)                                                                                  \
  [[unroll]] for (uint i = 0; i < TM; ++i) right[row_of(i) * 16u + thread_x()] = x;                     \
  barrier();
#define FOLD_ROW(i, result, JOIN)                                                                       \
  [[unroll]] for (uint n = 0; n < 16u; ++n) {                                                           \
    const float other = right[row_of(i) * 16u + n];                                                     \
    result = JOIN;                                                                                      \
  }

// The sum over a row's threads, in their order, in each of them.
#define SUM_ROWS(x)                                                                                     \
  {                                                                                                     \
    barrier();                                                                                          \
    GATHER_ROWS(x[i])                                                                                   \
    [[unroll]] for (uint i = 0; i < TM; ++i) {                                                          \
      x[i] = 0.0;                                                                                       \
      FOLD_ROW(i, x[i], x[i] + other)                                                                   \
    }                                                                                                   \
  }

// Rows of sums * factor[row], element d of row r to `at + r * step + d` of the result, where r < count.
#define WRITE_TILE(words, sums, to, factor)                                                             \
  [[unroll]] for (uint i = 0; i < TM; ++i) {                                                            \
    const uint per = per_word(OUT);                                                                     \
    if (row_of(i) < to.count) {                                                                         \
      [[unroll]] for (uint n = 0; n < TD; n += per) {                                                   \
        const uint d = element_of(n / RUN) + n % RUN;                                                   \
        uint word = float_to_bits(sums[i][n] * factor, OUT);                                            \
        if (per == 2u) word |= float_to_bits(sums[i][n + 1u] * factor, OUT) << 16;                      \
        if (d < pc.d) words[(to.at + row_of(i) * to.step + d) / per] = word;                            \
      }                                                                                                 \
    }                                                                                                   \
  }
#endif
