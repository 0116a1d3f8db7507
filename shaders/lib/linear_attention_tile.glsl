// A tile in the registers of one invocation: ROWS neighbouring tokens of a chunk and QUADS times four channels. A load
// is what costs on software devices: eight of them serve sixteen multiply-adds of four.
#ifndef ATTN_LINEAR_ATTENTION_TILE
#define ATTN_LINEAR_ATTENTION_TILE
#include "linear_attention.glsl"

const uint ROWS = 4, QUADS = 4;  // = src/ops/linear-attention.gpu.ts

uint line, chunk_of, chunk_begin, chunk_end, channel;
uint token[ROWS], row[ROWS];  // past the end those of the last token: it is computed again, and the same bits written

#define EACH_ROW [[unroll]] for (uint r = 0; r < ROWS; ++r)
#define EACH_QUAD [[unroll]] for (uint n = 0; n < QUADS; ++n)

// Invocation to tile: neighbours have the same tokens of other channels, then of other heads.
void take_tile(uint unit, uint channels) {
  const uint across = (channels + 4u * QUADS - 1u) / (4u * QUADS);
  channel = unit % across * 4u * QUADS;
  line = unit / across % pc.lines;
  const uint first = unit / across / pc.lines * ROWS;
  chunk_of = first / pc.chunk;
  chunk_begin = chunk_of * pc.chunk;
  chunk_end = min(chunk_begin + pc.chunk, pc.t);
  EACH_ROW {
    token[r] = min(first + r, pc.t - 1u);
    row[r] = row_of(line, token[r]);
  }
}

// The tile to an operand of `channels` as OTHER. Rows of halves are whole words: the plan sees to it.
#define WRITE_TILE(NAME, channels, tile)                                                       \
  EACH_ROW EACH_QUAD {                                                                         \
    const uint d = channel + 4u * n, at = row[r] * (channels) + d;                             \
    if (VECTORS) {                                                                             \
      if (d < (channels)) STORE4(NAME, OTHER, at / 4u, tile[r][n])                             \
    } else {                                                                                   \
      [[unroll]] for (uint c = 0; c < 4u; c += per_word(OTHER)) {                              \
        uint word = float_to_bits(tile[r][n][c], OTHER);                                       \
        if (per_word(OTHER) == 2u) word |= float_to_bits(tile[r][n][c + 1u], OTHER) << 16;     \
        if (d + c < (channels)) NAME.words[(at + c) / per_word(OTHER)] = word;                 \
      }                                                                                        \
    }                                                                                          \
  }
#endif
