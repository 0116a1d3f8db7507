// Storage is 32-bit words whatever the dtype, so kernels need neither 16-bit storage nor fp16 arithmetic:
// half and bfloat16 come two to a word, bytes four, and the dtype is a specialisation constant that the
// driver folds away. Arithmetic is always fp32 (or int32). Writers own whole words: invocation w makes
// elements w*per_word(dtype) .. and stores the word once; buffers are padded to 64 bytes.
#ifndef ATTN_STORAGE
#define ATTN_STORAGE

const int F32 = 0, F16 = 1, BF16 = 2, I32 = 3, U8 = 4, BOOL = 5;  // = src/tensor/dtype.ts

uint per_word(int dtype) { return dtype == F16 || dtype == BF16 ? 2u : dtype == U8 || dtype == BOOL ? 4u : 1u; }

// Round to nearest even; a NaN keeps its sign and stays quiet instead of rounding up to infinity.
uint bf16_bits(float x) {
  const uint u = floatBitsToUint(x);
  return (u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
}

// The element `lane` of a word, as raw bits of one element.
uint extract_bits(uint word, int dtype, uint lane) {
  if (dtype == F16 || dtype == BF16) return (word >> (16u * lane)) & 0xffffu;
  if (dtype == U8 || dtype == BOOL) return (word >> (8u * lane)) & 0xffu;
  return word;
}

float bits_to_float(uint bits, int dtype) {
  if (dtype == F32) return uintBitsToFloat(bits);
  if (dtype == F16) return unpackHalf2x16(bits).x;
  if (dtype == BF16) return uintBitsToFloat(bits << 16);
  if (dtype == I32) return float(int(bits));
  return float(bits);
}

uint float_to_bits(float x, int dtype) {
  if (dtype == F32) return floatBitsToUint(x);
  if (dtype == F16) return packHalf2x16(vec2(x, 0.0));
  if (dtype == BF16) return bf16_bits(x);
  if (dtype == I32) return uint(int(x));
  if (dtype == BOOL) return x != 0.0 ? 1u : 0u;
  return uint(clamp(x, 0.0, 255.0));
}

// Puts one element's bits into its lane of a word that is being assembled (zero there before).
uint insert_bits(uint word, uint bits, int dtype, uint lane) {
  if (dtype == F16 || dtype == BF16) return word | (bits << (16u * lane));
  if (dtype == U8 || dtype == BOOL) return word | (bits << (8u * lane));
  return bits;
}

// One element's bits in every lane of 16 bytes.
uvec4 repeat_bits(uint bits, int dtype) {
  const uint lanes = per_word(dtype);
  return uvec4(lanes == 1u ? bits : lanes == 2u ? bits * 0x10001u : bits * 0x1010101u);
}

// LOAD(words, dtype, i): element i of a `uint words[]` buffer as float; LOAD_BITS keeps its raw bits.
#define LOAD_BITS(words, dtype, i) extract_bits(words[(i) / per_word(dtype)], dtype, (i) % per_word(dtype))
#define LOAD(words, dtype, i) bits_to_float(LOAD_BITS(words, dtype, i), dtype)
#endif
