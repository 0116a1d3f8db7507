#version 450
// silu(a) b, or its gradients from dy: dy b silu'(a) and dy silu(a). a and b are arrays of their own, or lie row by
// row one behind the other, [rows, 2 width]: then the gradients do too. An invocation makes a word of output.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/activation.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const bool PACKED = false;
layout(constant_id = 3) const bool BACK = false;
PUSH(uint size; uint width; uint rows;);  // elements of an output
layout(set = 0, binding = 0) readonly buffer A { uint a[]; };
layout(set = 0, binding = 1) readonly buffer B { uint b[]; };
layout(set = 0, binding = 2) readonly buffer Dy { uint dy[]; };
layout(set = 0, binding = 3) writeonly buffer First { uint first[]; };
layout(set = 0, binding = 4) writeonly buffer Second { uint second[]; };

const int SILU = 4;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w * per_word(DTYPE) >= pc.size) return;
  uint x = 0u, y = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    // Of packed gradients e counts both halves; `i` is the element of the result.
    const bool both = PACKED && BACK;
    const uint row = e / (both ? 2u * pc.width : pc.width), column = e % pc.width;
    const uint i = both ? row * pc.width + column : e;
    const uint at = PACKED ? row * 2u * pc.width + column : e;
    const float u = LOAD(a, DTYPE, at), v = LOAD(b, DTYPE, PACKED ? at + pc.width : at);
    float p = activate(SILU, u), q = v;
    if (BACK) {
      const float g = LOAD(dy, DTYPE, i);
      q = g * p;
      p = both && e != at ? q : g * v * slope(SILU, u);
    } else {
      p *= q;
    }
    x = insert_bits(x, float_to_bits(p, DTYPE), DTYPE, lane);
    if (BACK && !PACKED) y = insert_bits(y, float_to_bits(q, DTYPE), DTYPE, lane);
  }
  first[w] = x;
  if (BACK && !PACKED) second[w] = y;
}
