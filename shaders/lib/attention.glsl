// What the attention kernels share: O[i] = sum_j softmax_j(score(q_i, k_j) + mask) v_j for each batch entry and head,
// one sweep over the keys with a running maximum (Dao 2023, arXiv:2307.08691), and its gradients from the saved
// log-sum-exp. Operands are [batch, time, heads, d] inside rows that may hold more: the elements of head h at time t of
// batch entry b are at `at + (b * times + t) * row + h * d`, and on; entries of k and v, which may have room for more
// keys than are there, at `at + b * k_batch`. A query has PARTS vectors of d elements for each head.
#ifndef ATTN_ATTENTION
#define ATTN_ATTENTION
#include "lib/head.glsl"
#include "lib/softmax.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;   // of q, k, v, dy
layout(constant_id = 2) const int OUT = 0;     // of o, dq, dk, dv
layout(constant_id = 3) const int MASK = 0;    // none, bools that keep, floats that are added
layout(constant_id = 4) const int SCORE = 0;
layout(constant_id = 5) const bool ENTROPY = false;
layout(constant_id = 6) const bool VECTORS = false;  // d is a multiple of four: elements are read 8 or 16 bytes at a time
layout(constant_id = 7) const bool ALIBI = false;

// Filled by src/ops/attention.gpu.ts. `blocks` of rows (queries, or keys) for each of `lines` heads of the batch; a
// key/value head serves `group` query heads. Mask steps are in elements, 0 along stretched dimensions.
PUSH(uint blocks; uint lines; uint tq; uint tk; uint heads; uint group; uint d; uint causal; uint window; float scale;
     uint mask_steps[4]; uint q_at; uint q_row; uint k_at; uint k_row; uint v_at; uint v_row; uint dq_at; uint dq_row;
     uint dk_at; uint dk_row; uint dv_at; uint dv_row; uint k_batch; uint sides_batch;);

#include "lib/attention_score.glsl"

layout(std430, binding = 0) readonly buffer Q { uint q_words[]; };
layout(std430, binding = 0) readonly buffer Q2 { uvec2 q_pairs[]; };
layout(std430, binding = 0) readonly buffer Q4 { uvec4 q_quads[]; };
layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 1) readonly buffer K2 { uvec2 k_pairs[]; };
layout(std430, binding = 1) readonly buffer K4 { uvec4 k_quads[]; };
layout(std430, binding = 2) readonly buffer V { uint v_words[]; };
layout(std430, binding = 2) readonly buffer V2 { uvec2 v_pairs[]; };
layout(std430, binding = 2) readonly buffer V4 { uvec4 v_quads[]; };
layout(std430, binding = 3) readonly buffer Mask { uint mask_words[]; };
#ifdef BACKWARD
layout(std430, binding = 4) readonly buffer Dy { uint dy_words[]; };
layout(std430, binding = 4) readonly buffer Dy2 { uvec2 dy_pairs[]; };
layout(std430, binding = 4) readonly buffer Dy4 { uvec4 dy_quads[]; };
// Written by attention_delta.comp: log-sum-exp and delta of each query; where scores have sides, the query's after them,
// then each key's, beside which dkv puts its gradient.
layout(std430, binding = 5) buffer Rows { vec2 row_stats[]; };
#else
layout(std430, binding = 7) readonly buffer Sides { float sides[]; };
#endif

vec4 widen(uvec2 w) {
  return vec4(bits_to_float(w.x & 0xffffu, DTYPE), bits_to_float(w.x >> 16, DTYPE), bits_to_float(w.y & 0xffffu, DTYPE),
              bits_to_float(w.y >> 16, DTYPE));
}

// Four neighbours of an operand, from its element `at` on, a multiple of four where there are VECTORS; beyond `valid`
// of them zeros.
#define FETCH(name, at, valid)                                                                        \
  (VECTORS ? ((valid) == 0u ? vec4(0.0) : per_word(DTYPE) == 1u ? uintBitsToFloat(name##_quads[(at) / 4u]) \
                                                               : widen(name##_pairs[(at) / 4u]))      \
           : vec4((valid) > 0u ? LOAD(name##_words, DTYPE, at) : 0.0,                                   \
                  (valid) > 1u ? LOAD(name##_words, DTYPE, at + 1u) : 0.0,                              \
                  (valid) > 2u ? LOAD(name##_words, DTYPE, at + 2u) : 0.0,                              \
                  (valid) > 3u ? LOAD(name##_words, DTYPE, at + 3u) : 0.0))

// How many of the four from `at` on lie below `end`.
uint below(uint at, uint end) { return at < end ? min(end - at, 4u) : 0u; }

// Keys that query i sees: [first_key(i), end_key(i)), before the mask. The last query stands at the last key.
uint first_key(uint i) {
  const int at = int(i + pc.tk) - int(pc.tq);
  return pc.window == 0u ? 0u : uint(clamp(at - int(pc.window) + 1, 0, int(pc.tk)));
}
uint end_key(uint i) {
  const int at = int(i + pc.tk) - int(pc.tq);
  const int end = pc.causal != 0u ? at + 1 : pc.window == 0u ? int(pc.tk) : at + int(pc.window);
  return uint(clamp(end, 0, int(pc.tk)));
}
// Queries that see key j: the same turned round.
uint first_query(uint j) {
  const int at = int(j + pc.tq) - int(pc.tk);
  const int first = pc.causal != 0u ? at : pc.window == 0u ? 0 : at - int(pc.window) + 1;
  return uint(clamp(first, 0, int(pc.tq)));
}
uint end_query(uint j) {
  const int at = int(j + pc.tq) - int(pc.tk);
  return pc.window == 0u ? pc.tq : uint(clamp(at + int(pc.window), 0, int(pc.tq)));
}
bool sees(uint i, uint j) { return j >= first_key(i) && j < end_key(i); }

// What a batch entry and head add to their scores: the mask, from its element (0, 0) on, and by ALiBi (Press et al.,
// 2022) -slope times the distance of a key in time, slope = 2^(-8 (h + 1) / heads).
struct Bias {
  uint at;
  float slope;
};
Bias bias_of(uint b, uint h) {
  return Bias(b * pc.mask_steps[0] + h * pc.mask_steps[1],
              ALIBI ? exp_safe(-5.545177444479562 * float(h + 1u) / float(pc.heads)) : 0.0);
}

// The score with all that is added to it, -inf where the mask hides the key.
float biased(float score, Bias bias, uint i, uint j) {
  if (ALIBI) score -= bias.slope * float(abs(int(i + pc.tk) - int(j + pc.tq)));
  if (MASK == 0) return score;
  const uint m = bias.at + i * pc.mask_steps[2] + j * pc.mask_steps[3];
  if (MASK == 1) return LOAD_BITS(mask_words, BOOL, m) != 0u ? score : LOWEST;
  return score + uintBitsToFloat(mask_words[m]);
}

// Sides of query i and of key j as scores take them. The operand, [batch, sides_batch], holds the
// queries' pairs as their heads lie in o, then the keys'.
uint query_side_at(uint b, uint h, uint i) { return b * pc.sides_batch + (i * pc.heads + h) * 2u; }
#ifdef BACKWARD
vec4 query_side(uint b, uint h, uint i) {
  return SIDED ? of_query(row_stats[((b * pc.heads + h) * pc.tq + i) * 2u + 1u]) : vec4(0.0);
}
// `queries` of all heads of the batch come before the keys.
uint key_side_at(uint queries, uint b, uint head, uint j) {
  return queries * 2u + (b * (pc.heads / pc.group) + head) * pc.tk + j;
}
vec3 key_side(uint queries, uint b, uint head, uint j) {
  return SIDED ? of_key(row_stats[key_side_at(queries, b, head, j)].x) : vec3(0.0);
}
// Log-sum-exp and delta.
vec2 stats_of(uint b, uint h, uint i) {
  return row_stats[((b * pc.heads + h) * pc.tq + i) * (SIDED ? 2u : 1u)];
}
#else
vec4 query_side(uint b, uint h, uint i) {
  if (!SIDED) return vec4(0.0);
  const uint at = query_side_at(b, h, i);
  return of_query(vec2(sides[at], sides[at + 1u]));
}
vec3 key_side(uint b, uint head, uint j) {
  if (!SIDED) return vec3(0.0);
  return of_key(sides[query_side_at(b, 0u, pc.tq) + j * (pc.heads / pc.group) + head]);
}
#endif

// exp(score - lse): a query that sees nothing (lse = -inf) weighs nothing.
float weight_of(float score, float lse) { return lse == LOWEST ? 0.0 : exp_below(score, lse); }
#endif
