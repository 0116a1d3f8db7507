// Tiles of the attention kernels for software drivers: ROWS rows against COLUMNS columns in the registers of one
// invocation (rows are queries and columns keys, but in dkv the other way round), elements of the heads two at a time.
//   ROW_PRODUCT   acc[row][column] = sum_d x[row][d] y[column][d]
//   ROW_SUM       sums[row][d] = sums[row][d] factor + sum_column weight[row][column] z[column][d]
// Registers hold the weights alone, whatever d is: so much the compiler still takes quickly. Sums are arrays, which is
// a load and a store for COLUMNS multiply-adds. x_row and so on are the first elements of rows; past the last row and
// column they are those of the last: it is computed again, and the same bits are written.
#ifndef ATTN_ATTENTION_ROWS
#define ATTN_ATTENTION_ROWS

layout(constant_id = 7) const uint ROWS = 4;
layout(constant_id = 8) const uint COLUMNS = 8;
layout(constant_id = 9) const uint PAIRS = 32;  // of elements that a row of sums has room for
layout(constant_id = 10) const bool ODD = false;  // the heads have an odd number of elements

vec2 both(uint word) { return vec2(bits_to_float(word & 0xffffu, DTYPE), bits_to_float(word >> 16, DTYPE)); }

// Elements at + d and at + d + 1; 0 in place of the latter where the head ends.
#define READ_PAIR(name, at, d)                                                             \
  (per_word(DTYPE) == 2u && !ODD ? both(name##_words[((at) + (d)) / 2u])                   \
                                 : vec2(LOAD(name##_words, DTYPE, (at) + (d)),             \
                                        ODD && (d) + 1u == pc.d ? 0.0 : LOAD(name##_words, DTYPE, (at) + (d) + 1u)))

#define ROW_PRODUCT(acc, X, x_row, Y, y_row)                                               \
  [[unroll]] for (uint r = 0; r < ROWS; ++r)                                               \
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) acc[r][c] = 0.0;                         \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 2u) {                                    \
    vec2 u[ROWS];                                                                          \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] = READ_PAIR(X, x_row[r], d);           \
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {                                        \
      const vec2 v = READ_PAIR(Y, y_row[c], d);                                            \
      [[unroll]] for (uint r = 0; r < ROWS; ++r) acc[r][c] += u[r].x * v.x + u[r].y * v.y; \
    }                                                                                      \
  }

#define CLEAR_ROWS(sums) [[dont_unroll]] for (uint n = 0; n < ROWS * PAIRS; ++n) sums[n] = vec2(0.0);

#define ROW_SUM(sums, factor, w, z, z_row)                                                 \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 2u) {                                    \
    vec2 u[ROWS];                                                                          \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] = sums[r * PAIRS + d / 2u] * factor;   \
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {                                        \
      const vec2 v = READ_PAIR(z, z_row[c], d);                                            \
      [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] += w[r][c] * v;                      \
    }                                                                                      \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) sums[r * PAIRS + d / 2u] = u[r];            \
  }

// Row r of sums * factor, to the elements from `at` on. Rows of halves are whole words: the plan sees to it.
#define WRITE_ROW(words, at, sums, r, factor)                                              \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 2u) {                                    \
    const vec2 u = sums[r * PAIRS + d / 2u] * factor;                                      \
    if (per_word(OUT) == 2u)                                                               \
      words[((at) + d) / 2u] = float_to_bits(u.x, OUT) | float_to_bits(u.y, OUT) << 16;    \
    else {                                                                                 \
      words[(at) + d] = float_to_bits(u.x, OUT);                                           \
      if (!ODD || d + 1u < pc.d) words[(at) + d + 1u] = float_to_bits(u.y, OUT);           \
    }                                                                                      \
  }
#endif
