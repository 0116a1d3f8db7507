// Four neighbouring elements at a time, whatever the dtype: 16 bytes of fp32, 8 of halves.
#ifndef ATTN_VECTORS
#define ATTN_VECTORS
#include "storage.glsl"

// Buffers of floats that are read or written both ways: FLOATS(3, readonly, weight) declares weight, weight_2, weight_4.
#define FLOATS(SLOT, ACCESS, NAME)                                                        \
  layout(set = 0, binding = SLOT) ACCESS buffer NAME##_words { uint words[]; } NAME;      \
  layout(set = 0, binding = SLOT) ACCESS buffer NAME##_pairs { uvec2 words[]; } NAME##_2; \
  layout(set = 0, binding = SLOT) ACCESS buffer NAME##_fours { uvec4 words[]; } NAME##_4;

vec4 halves_to_vec4(uvec2 w, int dtype) {
  if (dtype == F16) return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
  return uintBitsToFloat(uvec4(w.x << 16, w.x & 0xffff0000u, w.y << 16, w.y & 0xffff0000u));
}
uvec2 vec4_to_halves(vec4 v, int dtype) {
  if (dtype == F16) return uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
  return uvec2(bf16_bits(v.x) | (bf16_bits(v.y) << 16), bf16_bits(v.z) | (bf16_bits(v.w) << 16));
}

// Elements 4 i to 4 i + 3.
#define LOAD4(NAME, DTYPE, i) \
  (per_word(DTYPE) == 1u ? uintBitsToFloat(NAME##_4.words[i]) : halves_to_vec4(NAME##_2.words[i], DTYPE))
#define STORE4(NAME, DTYPE, i, v)                                          \
  if (per_word(DTYPE) == 1u) NAME##_4.words[i] = floatBitsToUint(v);        \
  else NAME##_2.words[i] = vec4_to_halves(v, DTYPE);

// As a number comes back once it was stored.
float as_stored(float x, int dtype) { return dtype == F32 ? x : bits_to_float(float_to_bits(x, dtype), dtype); }
vec4 as_stored(vec4 v, int dtype) {
  return dtype == F32 ? v
                      : vec4(as_stored(v.x, dtype), as_stored(v.y, dtype), as_stored(v.z, dtype), as_stored(v.w, dtype));
}
#endif
