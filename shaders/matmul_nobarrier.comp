#version 450
// For software drivers: each invocation keeps ROWS x COLS of the output in registers and reads its operands
// itself, element by element. There a load costs some ten multiply-adds whatever its width, shared memory costs
// a load each way, and a barrier costs hundreds; so the one thing that counts is ROWS + COLS loads for
// ROWS * COLS multiply-adds. Halves come two to a load. Past the edges indices are clamped, for stores as
// for loads: what lies outside computes the edge's own numbers again and writes the same bits.
#extension GL_GOOGLE_include_directive : require
#include "lib/matmul.glsl"

layout(constant_id = 9) const uint ROWS = 16;
layout(constant_id = 10) const uint COLS = 16;
layout(constant_id = 11) const uint STEP = 1;           // of k at once: 2 for halves
layout(constant_id = 12) const bool PAIRS_A = false;    // halves of a start at whole words in each of its rows
layout(constant_id = 13) const bool PAIRS_B = false;

float low(uint word) { return bits_to_float(word & 0xffffu, IN); }
float high(uint word) { return bits_to_float(word >> 16, IN); }

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const Tile t = tile_of(group);
  const uint down = gl_WorkGroupSize.x / pc.across;  // invocations of a group along m; pc.across along n
  const uint row = (t.row * down + gl_LocalInvocationID.x / pc.across) * ROWS;
  const uint col = (t.col * pc.across + gl_LocalInvocationID.x % pc.across) * COLS;

  // Element (r, k) of a is at a_row[r] + k * a_step, (k, c) of b at b_col[c] + k * b_step, (r, c) of the result
  // at out_row[r] + out_col[c]. Neighbours in one word clamp together.
  const bool pair_rows = TRANSPOSE_A && PAIRS_A;
  const bool pair_cols = together() == 2u || (!TRANSPOSE_B && PAIRS_B);
  const uint a_step = TRANSPOSE_A ? pc.m : 1u, b_step = TRANSPOSE_B ? 1u : pc.n;
  uint a_row[ROWS], b_col[COLS], out_row[ROWS], out_col[COLS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r) {
    const uint i = min(row + r, pair_rows ? pc.m - 2u + (r & 1u) : pc.m - 1u);
    a_row[r] = t.a_at + i * (TRANSPOSE_A ? 1u : pc.k);
    out_row[r] = t.out_at + i * pc.n;
  }
  [[unroll]] for (uint c = 0; c < COLS; ++c) {
    out_col[c] = min(col + c, pair_cols ? pc.n - 2u + (c & 1u) : pc.n - 1u);
    b_col[c] = t.b_at + out_col[c] * (TRANSPOSE_B ? pc.k : 1u);
  }

  float acc[ROWS][COLS];
  [[unroll]] for (uint r = 0; r < ROWS; ++r)
    [[unroll]] for (uint c = 0; c < COLS; ++c) acc[r][c] = 0.0;

  for (uint k = 0; k < pc.k; k += STEP) {
    float a[STEP][ROWS], b[STEP][COLS];
    [[unroll]] for (uint s = 0; s < STEP; ++s) {
      const bool inside = STEP == 1 || k + s < pc.k;
      const uint at = inside ? k + s : k;
      [[unroll]] for (uint r = 0; r < ROWS; ++r) {
        const uint i = a_row[r] + at * a_step;
        if (!PAIRS_A)
          a[s][r] = inside ? LOAD(a_words, IN, i) : 0.0;
        else if (TRANSPOSE_A && (r & 1u) == 0u) {
          const uint word = inside ? a_words[i / 2u] : 0u;
          a[s][r] = low(word);
          a[s][r + 1] = high(word);
        } else if (!TRANSPOSE_A && s == 0) {
          const uint word = a_words[i / 2u];
          a[0][r] = low(word);
          a[STEP - 1][r] = high(word);
        }
      }
      [[unroll]] for (uint c = 0; c < COLS; ++c) {
        const uint i = b_col[c] + at * b_step;
        if (!PAIRS_B)
          b[s][c] = inside ? LOAD(b_words, IN, i) : 0.0;
        else if (!TRANSPOSE_B && (c & 1u) == 0u) {
          const uint word = inside ? b_words[i / 2u] : 0u;
          b[s][c] = low(word);
          b[s][c + 1] = high(word);
        } else if (TRANSPOSE_B && s == 0) {
          const uint word = b_words[i / 2u];
          b[0][c] = low(word);
          b[STEP - 1][c] = high(word);
        }
      }
    }
    [[unroll]] for (uint s = 0; s < STEP; ++s)
      [[unroll]] for (uint r = 0; r < ROWS; ++r)
        [[unroll]] for (uint c = 0; c < COLS; ++c) acc[r][c] += a[s][r] * b[s][c];
  }

  const uint per = together();  // the plan sees to it that rows of halves are whole words
  [[unroll]] for (uint r = 0; r < ROWS; ++r)
    [[unroll]] for (uint c = 0; c < COLS; c += per)
      put(acc[r][c], acc[r][c + per - 1u], out_row[r] + out_col[c], out_col[c], per == 2u);
}
