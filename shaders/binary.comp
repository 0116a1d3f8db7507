#version 450
// c = f(a, b), both operands of the output's shape or one value. Plan: src/ops/elementwise.ts, contiguous.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/binary.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int OP = 0;
layout(constant_id = 3) const int DTYPE = 0;
layout(constant_id = 4) const uint STILL = 0;  // bit 0: a is one value, bit 1: b is
PUSH(uint units;);                             // of 16 bytes of a and b
layout(set = 0, binding = 0) readonly buffer A { uvec4 a[]; };
layout(set = 0, binding = 1) readonly buffer B { uvec4 b[]; };
layout(set = 0, binding = 2) writeonly buffer C { uvec4 c[]; };
layout(set = 0, binding = 2) writeonly buffer Bytes { uint c_words[]; };

uvec4 repeated(uint word) { return uvec4(per_word(DTYPE) == 1u ? word : (word & 0xffffu) * 0x10001u); }

uint apply_word(uint u, uint v) {
  if (per_word(DTYPE) == 1u) return apply_bits(OP, DTYPE, u, v);
  uint made = 0u;
  for (uint lane = 0u; lane < 2u; lane++)
    made = insert_bits(made, apply_bits(OP, DTYPE, extract_bits(u, DTYPE, lane), extract_bits(v, DTYPE, lane)), DTYPE, lane);
  return made;
}

// Results of a comparison, one or two lanes a word, gathered from 16 bits apart to a byte each.
uint lanes_to_bytes(uint w) { return (w & 1u) | ((w >> 8) & 0x100u); }

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint i = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, i += gl_WorkGroupSize.x) {
    if (i >= pc.units) return;
    const uvec4 u = (STILL & 1u) != 0u ? repeated(a[0].x) : a[i];
    const uvec4 v = (STILL & 2u) != 0u ? repeated(b[0].x) : b[i];
    const uvec4 r = uvec4(apply_word(u.x, v.x), apply_word(u.y, v.y), apply_word(u.z, v.z), apply_word(u.w, v.w));
    if (OP < FIRST_COMPARISON) {
      c[i] = r;
    } else if (per_word(DTYPE) == 1u) {
      c_words[i] = r.x | (r.y << 8) | (r.z << 16) | (r.w << 24);
    } else {
      c_words[2u * i] = lanes_to_bytes(r.x) | (lanes_to_bytes(r.y) << 16);
      c_words[2u * i + 1u] = lanes_to_bytes(r.z) | (lanes_to_bytes(r.w) << 16);
    }
  }
}
