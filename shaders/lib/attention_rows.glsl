// Tiles of the attention kernels for software drivers: ROWS rows against COLUMNS columns in the registers of one
// invocation (rows are queries and columns keys, but in dkv the other way round), elements of the heads four at a time.
//   ROW_PRODUCT   acc[row][column] = sum_d x[row][d] y[column][d]
//   ROW_SUM       sums[row][d] = sums[row][d] factor + sum_column weight[row][column] z[column][d]
// x_at and so on are added to the first elements of all rows, which is how the vectors of a query are told apart; `first`
// is the first row of sums. Registers hold the weights alone, whatever d is: so much the compiler still takes quickly. Sums are arrays, which is
// a load and a store for COLUMNS multiply-adds. x_row and so on are the first elements of rows; past the last row and
// column they are those of the last: it is computed again, and the same bits are written.
#ifndef ATTN_ATTENTION_ROWS
#define ATTN_ATTENTION_ROWS

layout(constant_id = 8) const uint ROWS = 4;
layout(constant_id = 9) const uint COLUMNS = 8;
layout(constant_id = 10) const uint QUADS = 16;  // of elements that a row of sums has room for

#define READ_QUAD(name, at, d) FETCH(name, (at) + (d), below(d, pc.d))

#define ROW_PRODUCT(acc, X, x_row, x_at, Y, y_row, y_at)                                        \
  [[unroll]] for (uint r = 0; r < ROWS; ++r)                                                    \
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) acc[r][c] = 0.0;                              \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 4u) {                                         \
    vec4 u[ROWS];                                                                               \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] = READ_QUAD(X, x_row[r] + (x_at), d);       \
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {                                             \
      const vec4 v = READ_QUAD(Y, y_row[c] + (y_at), d);                                        \
      [[unroll]] for (uint r = 0; r < ROWS; ++r) acc[r][c] += dot(u[r], v);                     \
    }                                                                                           \
  }

#define CLEAR_ROWS(sums, rows) [[dont_unroll]] for (uint n = 0; n < (rows) * QUADS; ++n) sums[n] = vec4(0.0);

#define ROW_SUM(sums, first, factor, w, Z, z_row, z_at)                                         \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 4u) {                                         \
    vec4 u[ROWS];                                                                               \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] = sums[((first) + r) * QUADS + d / 4u] * factor;\
    [[unroll]] for (uint c = 0; c < COLUMNS; ++c) {                                             \
      const vec4 v = READ_QUAD(Z, z_row[c] + (z_at), d);                                        \
      [[unroll]] for (uint r = 0; r < ROWS; ++r) u[r] += w[r][c] * v;                           \
    }                                                                                           \
    [[unroll]] for (uint r = 0; r < ROWS; ++r) sums[((first) + r) * QUADS + d / 4u] = u[r];     \
  }

// Row r of sums * factor, to the elements from `at` on. Rows of halves are whole words: the plan sees to it.
#define WRITE_ROW(words, at, sums, r, factor)                                                   \
  [[dont_unroll]] for (uint d = 0; d < pc.d; d += 4u) {                                         \
    const vec4 u = sums[(r) * QUADS + d / 4u] * factor;                                         \
    [[unroll]] for (uint c = 0; c < 4u; c += per_word(OUT)) {                                   \
      uint word = float_to_bits(u[c], OUT);                                                     \
      if (per_word(OUT) == 2u) word |= float_to_bits(u[c + 1u], OUT) << 16;                     \
      if (d + c < pc.d) words[((at) + d + c) / per_word(OUT)] = word;                           \
    }                                                                                           \
  }
#endif
