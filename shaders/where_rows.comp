#version 450
// out = condition ? a : b by rows (lib/rows.glsl).
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/rows.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int RANK = 2;
layout(constant_id = 2) const int DTYPE = 0;
layout(constant_id = 3) const uint STILL = 0;  // who stands still along a row: bit 0 the condition, 1 a, 2 b
PUSH(ROWS_PUSH uint c_strides[5]; uint a_strides[5]; uint b_strides[5];);
layout(set = 0, binding = 0) readonly buffer Condition { uint condition[]; };
layout(set = 0, binding = 1) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 1) readonly buffer AWords { uint a_words[]; };
layout(set = 0, binding = 2) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 2) readonly buffer BWords { uint b_words[]; };
layout(set = 0, binding = 3) writeonly buffer Out { uvec4 y[]; };

// All ones in the lanes of the word whose first element has its condition at `at`.
uint mask(uint at) {
  const uint lanes = per_word(DTYPE), ones = lanes == 1u ? 0xffffffffu : lanes == 2u ? 0xffffu : 0xffu;
  uint made = 0u;
  for (uint lane = 0u; lane < lanes; lane++)
    if (LOAD_BITS(condition, BOOL, at + lane) != 0u) made |= ones << (lane * (32u / lanes));
  return made;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  FIND_ROW(row, unit, end);
  if (row >= pc.rows) return;
  uint at_c = 0u, at_a = 0u, at_b = 0u;
  EACH_OUTER_AXIS(row, index, axis, at_c += index * pc.c_strides[axis]; at_a += index * pc.a_strides[axis];
                  at_b += index * pc.b_strides[axis];)
  const bool c_still = (STILL & 1u) != 0u, a_still = (STILL & 2u) != 0u, b_still = (STILL & 4u) != 0u;
  const uint lanes = per_word(DTYPE), elements = 4u * lanes;
  uvec4 u = uvec4(0u), v = uvec4(0u), m = uvec4(0u);
  if (a_still) u = repeat_bits(LOAD_BITS(a_words, DTYPE, at_a), DTYPE);
  if (b_still) v = repeat_bits(LOAD_BITS(b_words, DTYPE, at_b), DTYPE);
  if (c_still) m = uvec4(LOAD_BITS(condition, BOOL, at_c) != 0u ? 0xffffffffu : 0u);
  for (; unit < end; unit += 1u << pc.log_width) {
    if (!a_still) u = a[at_a / elements + unit];
    if (!b_still) v = b[at_b / elements + unit];
    if (!c_still)
      for (uint k = 0u; k < 4u; k++) m[k] = mask(at_c + unit * elements + k * lanes);
    y[row * pc.row_units + unit] = (u & m) | (v & ~m);
  }
}
