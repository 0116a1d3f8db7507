#version 450
// Running sums of rows of neighbours, a subgroup to a row. Spec constant 1: dtype, float32 or int32.
#extension GL_GOOGLE_include_directive : enable
#extension GL_KHR_shader_subgroup_arithmetic : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/sum.glsl"
layout(constant_id = 1) const int DTYPE = 0;
PUSH(uint n;);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint first = GROUP_INDEX * pc.n, lane = gl_LocalInvocationID.x, lanes = gl_WorkGroupSize.x;
  float carry = 0.0, lost = 0.0;
  uint count = 0u;
  for (uint i = 0u; i < pc.n; i += lanes) {
    const bool inside = i + lane < pc.n;
    const uint bits = inside ? x.words[first + i + lane] : 0u;
    uint result;
    if (DTYPE == I32) {
      result = count + subgroupInclusiveAdd(bits);
      count += subgroupAdd(bits);
    } else {
      const float v = uintBitsToFloat(bits);
      result = floatBitsToUint(carry + (subgroupInclusiveAdd(v) - lost));
      add_exactly(carry, lost, subgroupAdd(v));
    }
    if (inside) y.words[first + i + lane] = result;
  }
}
