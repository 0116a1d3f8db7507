// Rows of D elements in registers.

// x[d] = element at + d of an operand, for all d.
#define READ_ROW(x, name, at)                                                        \
  {                                                                                  \
    const uint row_at = at;                                                          \
    if (per_word(DTYPE) == 2u && D % 2u == 0u) {                                     \
      [[unroll]] for (uint d = 0; d < D; d += 2u) {                                  \
        const uint word = name##_words[(row_at + d) / 2u];                           \
        x[d] = bits_to_float(word & 0xffffu, DTYPE);                                 \
        x[d + 1u] = bits_to_float(word >> 16, DTYPE);                                \
      }                                                                              \
    } else {                                                                         \
      [[unroll]] for (uint d = 0; d < D; ++d) x[d] = LOAD(name##_words, DTYPE, row_at + d); \
    }                                                                                \
  }

// Element at + d of the result = x[d] * factor. Rows of halves are whole words: the plan sees to it.
#define WRITE_ROW(words, at, x, factor)                                              \
  {                                                                                  \
    const uint row_at = at, per = per_word(OUT);                                     \
    [[unroll]] for (uint d = 0; d < D; d += per) {                                   \
      uint word = float_to_bits(x[d] * factor, OUT);                                 \
      if (per == 2u) word |= float_to_bits(x[d + 1u] * factor, OUT) << 16;           \
      words[(row_at + d) / per] = word;                                              \
    }                                                                                \
  }
