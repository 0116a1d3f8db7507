#version 450
// Exchanges the axis of neighbours in x with the last axis of the output, tile by tile through shared memory, for
// every index of the other axes. Rows of the output are whole words. Spec constant 1: dtype.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
const uint TILE = 32u;
PUSH(uint origin; uint columns; uint rows; uint column_step; uint row_step; uint across; uint down; uint dims[6];
     uint in_strides[6]; uint out_strides[6];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

shared uint tile[TILE * (TILE + 1u)];  // a column of padding keeps columns in different banks

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint t = GROUP_INDEX;
  const uint c0 = t % pc.across * TILE, r0 = t / pc.across % pc.down * TILE;
  t /= pc.across * pc.down;
  uint from = pc.origin, to = 0u;
  for (int k = 5; k >= 0; k--) {
    const uint i = t % pc.dims[k];
    t /= pc.dims[k];
    from += i * pc.in_strides[k];
    to += i * pc.out_strides[k];
  }
  for (uint i = gl_LocalInvocationID.x; i < TILE * TILE; i += gl_WorkGroupSize.x) {
    const uint r = i / TILE, c = i % TILE;
    if (r0 + r < pc.rows && c0 + c < pc.columns)
      tile[r * (TILE + 1u) + c] = LOAD_BITS(x.words, DTYPE, from + (r0 + r) * pc.row_step + c0 + c);
  }
  barrier();
  const uint lanes = per_word(DTYPE), words = TILE / lanes;
  for (uint i = gl_LocalInvocationID.x; i < TILE * words; i += gl_WorkGroupSize.x) {
    const uint c = i / words, r = i % words * lanes;
    if (r0 + r >= pc.rows || c0 + c >= pc.columns) continue;
    uint word = 0u;
    for (uint lane = 0u; lane < lanes; lane++)
      word = insert_bits(word, tile[(r + lane) * (TILE + 1u) + c], DTYPE, lane);
    y.words[(to + (c0 + c) * pc.column_step + r0 + r) / lanes] = word;
  }
}
