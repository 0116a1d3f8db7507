#version 450
// out[i, :] = weight[ids[i], :]. An invocation moves 16 bytes where rows are whole vectors, else it makes a word. An id
// out of range yields 0 and is left in the fault words. Spec constants: 1 dtype, 2 vectors.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/fault.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int VECTORS = 0;
PUSH(uint units; uint size; uint rows; uint row_units;);  // row_units: vectors or elements of a row
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } weight;
layout(set = 0, binding = 0) readonly buffer In4 { uvec4 words[]; } weight4;
layout(set = 0, binding = 1) readonly buffer Ids { uint of[]; } ids;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } y;
layout(set = 0, binding = 2) writeonly buffer Out4 { uvec4 words[]; } y4;
layout(set = 0, binding = 3) buffer Fault { uint words[]; } fault;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint u = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (u >= pc.units) return;
  const uint lanes = VECTORS != 0 ? 1u : per_word(DTYPE);
  uint word = 0u;
  for (uint lane = 0u; lane < lanes; lane++) {
    const uint e = u * lanes + lane;
    if (VECTORS == 0 && e >= pc.size) break;
    const uint i = e / pc.row_units, id = ids.of[i];
    const bool inside = id < pc.rows;  // not the negative ones
    if (!inside) {
      REPORT_INDEX(fault.words, id, i)
    }
    const uint at = id * pc.row_units + (e - i * pc.row_units);
    if (VECTORS != 0) y4.words[u] = inside ? weight4.words[at] : uvec4(0u);
    else if (inside) word = insert_bits(word, LOAD_BITS(weight.words, DTYPE, at), DTYPE, lane);
  }
  if (VECTORS == 0) y.words[u] = word;
}
