#version 450
// c = f(a, b) over up to six axes with any strides. Plan: src/ops/elementwise.ts, broadcast.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/binary.glsl"

layout(constant_id = 1) const int OP = 0;
layout(constant_id = 2) const int DTYPE = 0;
layout(constant_id = 3) const int RANK = 1;
PUSH(uint elements; uint shape[6]; uint a_strides[6]; uint b_strides[6];);
layout(set = 0, binding = 0) readonly buffer A { uint a[]; };
layout(set = 0, binding = 1) readonly buffer B { uint b[]; };
layout(set = 0, binding = 2) writeonly buffer C { uint c[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const int out_dtype = OP < FIRST_COMPARISON ? DTYPE : BOOL;
  const uint word = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  const uint first = word * per_word(out_dtype), last = min(first + per_word(out_dtype), pc.elements);
  if (first >= pc.elements) return;
  uint made = 0u;
  for (uint i = first; i < last; i++) {
    uint rest = i, at_a = 0u, at_b = 0u;
    for (int axis = RANK - 1; axis >= 0; axis--) {
      const uint index = axis == 0 ? rest : rest % pc.shape[axis];
      rest /= pc.shape[axis];
      at_a += index * pc.a_strides[axis];
      at_b += index * pc.b_strides[axis];
    }
    const uint r = apply_bits(OP, DTYPE, LOAD_BITS(a, DTYPE, at_a), LOAD_BITS(b, DTYPE, at_b));
    made = insert_bits(made, r, out_dtype, i - first);
  }
  c[word] = made;
}
