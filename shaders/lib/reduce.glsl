// What the kernels of sum, mean, max and argmax share: a partial result, how it takes an element, how two join.
// Spec constants: 1 op, 2 dtype of the input, 3 stage.
#ifndef ATTN_REDUCE
#define ATTN_REDUCE
#include "sum.glsl"

const int SUM = 0, MEAN = 1, MAX = 2, ARGMAX = 3;        // = src/ops/reduce.ts
const int WHOLE = 0, TO_PARTS = 1, FROM_PARTS = 2;

layout(constant_id = 1) const int OP = 0;
layout(constant_id = 2) const int DTYPE = 0;
layout(constant_id = 3) const int STAGE = 0;

const bool FLOAT_SUM = (OP == SUM || OP == MEAN) && DTYPE != I32;
const bool INT_SUM = OP == SUM && DTYPE == I32;
int out_dtype() { return OP == ARGMAX ? I32 : DTYPE; }

// `key` orders all values as unsigned integers, NaN above everything, so that greatest-of-a-team is an integer
// maximum; `at` is where it stood first, ~0 for none.
struct Partial {
  float sum, lost;
  uint word;  // integer sum
  uint key, at;
};

Partial nothing() { return Partial(0.0, 0.0, 0u, 0u, ~0u); }

uint key_of(uint bits) {
  if (DTYPE == I32) return bits ^ 0x80000000u;
  const float x = bits_to_float(bits, DTYPE);
  const uint u = floatBitsToUint(x);
  if (nan_bits(x)) return ~0u;
  if ((u << 1) == 0u) return 0x80000000u;  // -0 and 0 are equal
  return (u & 0x80000000u) != 0u ? ~u : u | 0x80000000u;
}

uint bits_of_key(uint key) {
  if (DTYPE == I32) return key ^ 0x80000000u;
  if (key == ~0u) return float_to_bits(uintBitsToFloat(0x7fc00000u), DTYPE);
  return float_to_bits(uintBitsToFloat((key & 0x80000000u) != 0u ? key ^ 0x80000000u : ~key), DTYPE);
}

void take_key(inout Partial p, uint key, uint at) {
  if (key > p.key || (key == p.key && at < p.at)) {
    p.key = key;
    p.at = at;
  }
}

// Element number `at` of the reduction.
void take(inout Partial p, uint bits, uint at) {
  if (FLOAT_SUM) p.sum += bits_to_float(bits, DTYPE);
  else if (INT_SUM) p.word += bits;
  else take_key(p, key_of(bits), at);
}

void join(inout Partial p, Partial q) {
  if (FLOAT_SUM) add_exactly(p.sum, p.lost, q.sum);
  else if (INT_SUM) p.word += q.word;
  else take_key(p, q.key, q.at);
}

uint result_bits(Partial p, float divide) {
  if (OP == ARGMAX) return p.at;
  if (OP == MAX) return bits_of_key(p.key);
  if (INT_SUM) return p.word;
  return float_to_bits(OP == MEAN ? p.sum / divide : p.sum, DTYPE);
}

// Partial results in scratch: a word, or for argmax two.
#define STORE_PART(words, i, p)                                                            \
  if (OP == ARGMAX) {                                                                      \
    words[2u * (i)] = p.key;                                                               \
    words[2u * (i) + 1u] = p.at;                                                           \
  } else {                                                                                 \
    words[i] = FLOAT_SUM ? floatBitsToUint(p.sum) : INT_SUM ? p.word : p.key;              \
  }
#define TAKE_PART(p, words, i)                                                             \
  if (OP == ARGMAX) take_key(p, words[2u * (i)], words[2u * (i) + 1u]);                    \
  else if (FLOAT_SUM) p.sum += uintBitsToFloat(words[i]);                                  \
  else if (INT_SUM) p.word += words[i];                                                    \
  else take_key(p, words[i], 0u);
#endif
