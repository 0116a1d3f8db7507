#version 450
// dz = dy act'(z), in the dtype of z; dy may be wider. An invocation makes four elements.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/activation.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const int ACTIVATION = 0;
layout(constant_id = 2) const int FROM = 0;  // dtype of dy
layout(constant_id = 3) const int TO = 0;    // of z and dz
PUSH(uint units;);
layout(set = 0, binding = 0) readonly buffer Dy { uint dy[]; };
layout(set = 0, binding = 1) readonly buffer Z { uint z[]; };
layout(set = 0, binding = 2) writeonly buffer Dz { uint dz[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (unit >= pc.units) return;
  const uint lanes = per_word(TO);
  uint made = 0u;
  [[unroll]] for (uint k = 0u; k < 4u; k++) {
    const uint i = 4u * unit + k;
    float g = LOAD(dy, FROM, i);
    if (ACTIVATION != 0) g *= slope(ACTIVATION, LOAD(z, TO, i));
    made = insert_bits(made, float_to_bits(g, TO), TO, k % lanes);
    if (k % lanes == lanes - 1u) {
      dz[i / lanes] = made;
      made = 0u;
    }
  }
}
