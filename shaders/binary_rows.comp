#version 450
// c = f(a, b) by rows (lib/rows.glsl).
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/binary.glsl"
#include "lib/rows.glsl"

layout(constant_id = 1) const int RANK = 2;
layout(constant_id = 2) const int OP = 0;
layout(constant_id = 3) const int DTYPE = 0;
layout(constant_id = 4) const uint STILL = 0;  // bit 0: a stands still along a row, bit 1: b does
PUSH(ROWS_PUSH uint a_strides[5]; uint b_strides[5];);
layout(set = 0, binding = 0) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 0) readonly buffer AWords { uint a_words[]; };
layout(set = 0, binding = 1) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 1) readonly buffer BWords { uint b_words[]; };
layout(set = 0, binding = 2) writeonly buffer C { uvec4 c[]; };
layout(set = 0, binding = 2) writeonly buffer CWords { uint c_words[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  FIND_ROW(row, unit, end);
  if (row >= pc.rows) return;
  uint at_a = 0u, at_b = 0u;
  EACH_OUTER_AXIS(row, index, axis, at_a += index * pc.a_strides[axis]; at_b += index * pc.b_strides[axis];)
  const bool a_still = (STILL & 1u) != 0u, b_still = (STILL & 2u) != 0u;
  const uint lanes = per_word(DTYPE), elements = 4u * lanes;
  uvec4 u = uvec4(0u), v = uvec4(0u);
  if (a_still) u = repeat_bits(LOAD_BITS(a_words, DTYPE, at_a), DTYPE);
  if (b_still) v = repeat_bits(LOAD_BITS(b_words, DTYPE, at_b), DTYPE);
  for (; unit < end; unit += 1u << pc.log_width) {
    if (!a_still) u = a[at_a / elements + unit];
    if (!b_still) v = b[at_b / elements + unit];
    const uvec4 r = apply_words(OP, DTYPE, u, v);
    const uint at = row * pc.row_units + unit;
    if (OP < FIRST_COMPARISON) {
      c[at] = r;
    } else {
      const uvec2 bytes = to_bytes(DTYPE, r);
      c_words[lanes * at] = bytes.x;
      if (lanes == 2u) c_words[2u * at + 1u] = bytes.y;
    }
  }
}
