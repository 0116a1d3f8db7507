#version 450
// For GPUs: a group makes a BM x BN tile from BK-deep slices of a and b in shared memory, each thread TM x TN of
// it in registers, in true fp32. Both slices lie k-major with padded rows: threads read neighbours, and the
// transposing stores of a slice read along k spread over the banks. Past the edges slices are filled with zeros.
#extension GL_GOOGLE_include_directive : require
#include "lib/matmul.glsl"

layout(constant_id = 9) const uint BM = 64;
layout(constant_id = 10) const uint BN = 64;
layout(constant_id = 11) const uint BK = 16;
layout(constant_id = 12) const uint TM = 4;  // multiples of 4
layout(constant_id = 13) const uint TN = 4;
layout(constant_id = 14) const bool QUADS_A = false;  // rows of a, as stored, are multiples of four elements
layout(constant_id = 15) const bool QUADS_B = false;

layout(std430, binding = 0) readonly buffer A4 { uvec4 a_quads[]; };
layout(std430, binding = 0) readonly buffer A2 { uvec2 a_pairs[]; };
layout(std430, binding = 1) readonly buffer B4 { uvec4 b_quads[]; };
layout(std430, binding = 1) readonly buffer B2 { uvec2 b_pairs[]; };

const uint A_ROW = BM + 4u, B_ROW = BN + 4u;
shared float a_tile[BK * A_ROW];
shared float b_tile[BK * B_ROW];

vec4 widen(uvec2 w) {
  return vec4(bits_to_float(w.x & 0xffffu, IN), bits_to_float(w.x >> 16, IN), bits_to_float(w.y & 0xffffu, IN),
              bits_to_float(w.y >> 16, IN));
}

// Four neighbours from element `at` on, of which `valid` exist.
vec4 load_a(uint at, uint valid) {
  if (QUADS_A) {
    if (valid == 0u) return vec4(0.0);
    return IN == F32 ? uintBitsToFloat(a_quads[at / 4u]) : widen(a_pairs[at / 4u]);
  }
  vec4 v = vec4(0.0);
  [[unroll]] for (uint i = 0; i < 4u; ++i) if (i < valid) v[i] = LOAD(a_words, IN, at + i);
  return v;
}
vec4 load_b(uint at, uint valid) {
  if (QUADS_B) {
    if (valid == 0u) return vec4(0.0);
    return IN == F32 ? uintBitsToFloat(b_quads[at / 4u]) : widen(b_pairs[at / 4u]);
  }
  vec4 v = vec4(0.0);
  [[unroll]] for (uint i = 0; i < 4u; ++i) if (i < valid) v[i] = LOAD(b_words, IN, at + i);
  return v;
}

// How many of the four from `at` on lie below `end`.
uint below(uint at, uint end) { return at < end ? min(end - at, 4u) : 0u; }

void main() {
  const uint group = GROUP_INDEX;
  if (group >= pc.count) return;
  const Tile t = tile_of(group);
  const uint row0 = t.row * BM, col0 = t.col * BN;
  const uint id = gl_LocalInvocationID.x;
  const uint across = BN / TN, down = BM / TM;
  const uint x = id % across, y = id / across;

  float acc[TM][TN];
  [[unroll]] for (uint i = 0; i < TM; ++i)
    [[unroll]] for (uint j = 0; j < TN; ++j) acc[i][j] = 0.0;

  for (uint k0 = 0; k0 < pc.k; k0 += BK) {
    for (uint q = id; q < BM * BK / 4u; q += gl_WorkGroupSize.x) {
      if (TRANSPOSE_A) {
        const uint m = q % (BM / 4u) * 4u, k = q / (BM / 4u);
        const vec4 v = load_a(t.a_at + (k0 + k) * pc.m + row0 + m, k0 + k < pc.k ? below(row0 + m, pc.m) : 0u);
        [[unroll]] for (uint i = 0; i < 4u; ++i) a_tile[k * A_ROW + m + i] = v[i];
      } else {
        const uint k = q % (BK / 4u) * 4u, m = q / (BK / 4u);
        const vec4 v = load_a(t.a_at + (row0 + m) * pc.k + k0 + k, row0 + m < pc.m ? below(k0 + k, pc.k) : 0u);
        [[unroll]] for (uint i = 0; i < 4u; ++i) a_tile[(k + i) * A_ROW + m] = v[i];
      }
    }
    for (uint q = id; q < BN * BK / 4u; q += gl_WorkGroupSize.x) {
      if (TRANSPOSE_B) {
        const uint k = q % (BK / 4u) * 4u, n = q / (BK / 4u);
        const vec4 v = load_b(t.b_at + (col0 + n) * pc.k + k0 + k, col0 + n < pc.n ? below(k0 + k, pc.k) : 0u);
        [[unroll]] for (uint i = 0; i < 4u; ++i) b_tile[(k + i) * B_ROW + n] = v[i];
      } else {
        const uint n = q % (BN / 4u) * 4u, k = q / (BN / 4u);
        const vec4 v = load_b(t.b_at + (k0 + k) * pc.n + col0 + n, k0 + k < pc.k ? below(col0 + n, pc.n) : 0u);
        [[unroll]] for (uint i = 0; i < 4u; ++i) b_tile[k * B_ROW + n + i] = v[i];
      }
    }
    barrier();
    for (uint k = 0; k < BK; ++k) {
      float a[TM], b[TN];
      [[unroll]] for (uint i = 0; i < TM; ++i) a[i] = a_tile[k * A_ROW + i / 4u * (down * 4u) + y * 4u + i % 4u];
      [[unroll]] for (uint j = 0; j < TN; ++j) b[j] = b_tile[k * B_ROW + j / 4u * (across * 4u) + x * 4u + j % 4u];
      [[unroll]] for (uint i = 0; i < TM; ++i)
        [[unroll]] for (uint j = 0; j < TN; ++j) acc[i][j] += a[i] * b[j];
    }
    barrier();
  }

  const uint per = together();  // the plan sees to it that rows of halves are whole words
  [[unroll]] for (uint i = 0; i < TM; ++i) {
    const uint row = row0 + i / 4u * (down * 4u) + y * 4u + i % 4u;
    if (row >= pc.m) continue;
    [[unroll]] for (uint j = 0; j < TN; j += per) {
      const uint col = col0 + j / 4u * (across * 4u) + x * 4u + j % 4u;
      if (col < pc.n) put(acc[i][j], acc[i][j + per - 1u], t.out_at + row * pc.n + col, col, per == 2u);
    }
  }
}
