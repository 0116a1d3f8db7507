// f(a, b) on raw element bits; the op codes are the places in the table of src/ops/binary.ts, comparisons from 7 on.
#ifndef ATTN_BINARY
#define ATTN_BINARY
#include "lib/math.glsl"
#include "lib/storage.glsl"

const int FIRST_COMPARISON = 7;

float apply(int op, float a, float b) {
  switch (op) {
    case 0: return a + b;
    case 1: return a - b;
    case 2: return a * b;
    case 3: return a / b;
    case 4: return pow_safe(a, b);
    case 5: return is_nan(a) ? a : is_nan(b) ? b : max(a, b);
    default: return is_nan(a) ? a : is_nan(b) ? b : min(a, b);
  }
}

uint apply_int(int op, int a, int b) {
  switch (op) {
    case 0: return uint(a) + uint(b);
    case 1: return uint(a) - uint(b);
    case 2: return uint(a) * uint(b);
    case 5: return uint(max(a, b));
    default: return uint(min(a, b));
  }
}

// -1, 0, 1 as a is below, equal to, above b; 2 where they are unordered.
bool holds(int op, int order) {
  switch (op) {
    case 7: return order == 0;
    case 8: return order != 0;
    case 9: return order == -1;
    case 10: return order == -1 || order == 0;
    case 11: return order == 1;
    default: return order == 1 || order == 0;
  }
}

// The bits of the result: of the dtype, or of a bool.
uint apply_bits(int op, int dtype, uint a, uint b) {
  if (dtype == I32) {
    const int u = int(a), v = int(b);
    if (op >= FIRST_COMPARISON) return holds(op, u < v ? -1 : u > v ? 1 : 0) ? 1u : 0u;
    return apply_int(op, u, v);
  }
  const float u = bits_to_float(a, dtype), v = bits_to_float(b, dtype);
  if (op >= FIRST_COMPARISON) {
    const int order = is_nan(u) || is_nan(v) ? 2 : u < v ? -1 : u > v ? 1 : 0;
    return holds(op, order) ? 1u : 0u;
  }
  return float_to_bits(apply(op, u, v), dtype);
}

// The same on words: both lanes of a word of halves.
uint apply_word(int op, int dtype, uint u, uint v) {
  if (per_word(dtype) == 1u) return apply_bits(op, dtype, u, v);
  uint made = 0u;
  for (uint lane = 0u; lane < 2u; lane++) {
    const uint r = apply_bits(op, dtype, extract_bits(u, dtype, lane), extract_bits(v, dtype, lane));
    made = insert_bits(made, r, dtype, lane);
  }
  return made;
}
uvec4 apply_words(int op, int dtype, uvec4 u, uvec4 v) {
  return uvec4(apply_word(op, dtype, u.x, v.x), apply_word(op, dtype, u.y, v.y), apply_word(op, dtype, u.z, v.z),
               apply_word(op, dtype, u.w, v.w));
}

// Four words of comparisons, one or two lanes a word, as the bytes of one or two words.
uvec2 to_bytes(int dtype, uvec4 r) {
  if (per_word(dtype) == 1u) return uvec2(r.x | (r.y << 8) | (r.z << 16) | (r.w << 24), 0u);
  const uvec4 pairs = (r & 1u) | ((r >> 8) & 0x100u);
  return pairs.xz | (pairs.yw << 16);
}
#endif
