#version 450
// out[v, :] = sum of dy[i, :] over the i with ids[i] = v, in their order. An invocation owns 16 bytes of a row, or a word
// where rows are not whole vectors; it looks through all ids (LISTS 0) or follows the list of its row (sort_ids.comp).
// Spec constants: 1 dtype, 2 vectors, 3 lists.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/lists.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int VECTORS = 0;
layout(constant_id = 3) const int LISTS = 0;
PUSH(uint units; uint size; uint n; uint rows; uint row_units;);  // row_units: vectors or elements of a row
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } dy;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } dy4;
layout(set = 0, binding = 1) readonly buffer Ids { uvec4 of[]; } ids;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 2) writeonly buffer Out4 { uvec4 words[]; } y4;
layout(set = 0, binding = 3) readonly buffer Start { uint of[]; } start;
layout(set = 0, binding = 4) readonly buffer Position { uint of[]; } position;

const uint FLUSH = 64u;  // terms between carries, as on the CPU

struct Sum {
  vec4 low, high;  // the lower and upper lanes of four words; a single element in low.x
};
Sum total, part;
uint terms;

void flush() {
  total.low += part.low;
  total.high += part.high;
  part = Sum(vec4(0.0), vec4(0.0));
}

void take(uint i, uint column) {
  const uint at = i * pc.row_units + column;
  if (VECTORS == 0) {
    part.low.x += LOAD(dy.words, DTYPE, at);
  } else {
    const uvec4 v = dy4.words[at];
    if (DTYPE == F32) {
      part.low += uintBitsToFloat(v);
    } else {
      [[unroll]] for (int k = 0; k < 4; k++) {
        part.low[k] += bits_to_float(v[k] & 0xffffu, DTYPE);
        part.high[k] += bits_to_float(v[k] >> 16, DTYPE);
      }
    }
  }
  if (++terms % FLUSH == 0u) flush();
}

void sum_row(uint row, uint column) {
  total = part = Sum(vec4(0.0), vec4(0.0));
  terms = 0u;
  if (LISTS != 0) {
    const uint end = LIST_START(start.of, row + 1u, pc.rows);
    for (uint k = LIST_START(start.of, row, pc.rows); k < end; k++) take(position.of[k], column);
  } else {
    for (uint i = 0u; i < pc.n; i += 4u) {
      const uvec4 four = ids.of[i / 4u];
      if (!any(equal(four, uvec4(row)))) continue;
      [[unroll]] for (uint k = 0u; k < 4u; k++)
        if (four[k] == row && i + k < pc.n) take(i + k, column);
    }
  }
  flush();
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint u = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (u >= pc.units) return;
  if (VECTORS != 0) {
    sum_row(u / pc.row_units, u % pc.row_units);
    uvec4 made = floatBitsToUint(total.low);
    if (DTYPE != F32) {
      [[unroll]] for (int k = 0; k < 4; k++)
        made[k] = float_to_bits(total.low[k], DTYPE) | (float_to_bits(total.high[k], DTYPE) << 16);
    }
    y4.words[u] = made;
    return;
  }
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = u * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    sum_row(e / pc.row_units, e % pc.row_units);
    word = insert_bits(word, float_to_bits(total.low.x, DTYPE), DTYPE, lane);
  }
  y.words[u] = word;
}
