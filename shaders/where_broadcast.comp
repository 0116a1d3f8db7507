#version 450
// out = condition ? a : b over up to six axes with any strides. Plan: src/ops/elementwise.ts, broadcast.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 1;
PUSH(uint elements; uint shape[6]; uint c_strides[6]; uint a_strides[6]; uint b_strides[6];);
layout(set = 0, binding = 0) readonly buffer Condition { uint condition[]; };
layout(set = 0, binding = 1) readonly buffer A { uint a[]; };
layout(set = 0, binding = 2) readonly buffer B { uint b[]; };
layout(set = 0, binding = 3) writeonly buffer Out { uint y[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint word = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  const uint first = word * per_word(DTYPE), last = min(first + per_word(DTYPE), pc.elements);
  if (first >= pc.elements) return;
  uint made = 0u;
  for (uint i = first; i < last; i++) {
    uint rest = i, at_c = 0u, at_a = 0u, at_b = 0u;
    for (int axis = RANK - 1; axis >= 0; axis--) {
      const uint index = axis == 0 ? rest : rest % pc.shape[axis];
      rest /= pc.shape[axis];
      at_c += index * pc.c_strides[axis];
      at_a += index * pc.a_strides[axis];
      at_b += index * pc.b_strides[axis];
    }
    const bool holds = LOAD_BITS(condition, BOOL, at_c) != 0u;
    const uint bits = holds ? LOAD_BITS(a, DTYPE, at_a) : LOAD_BITS(b, DTYPE, at_b);
    made = insert_bits(made, bits, DTYPE, i - first);
  }
  y[word] = made;
}
