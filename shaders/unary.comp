#version 450
// y = f(x). Plan: src/ops/elementwise.ts, contiguous; the op codes are the places in the table of src/ops/unary.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/storage.glsl"

layout(constant_id = 1) const uint STEPS = 1;
layout(constant_id = 2) const int OP = 0;
layout(constant_id = 3) const int DTYPE = 0;
PUSH(uint units;);  // of 16 bytes
layout(set = 0, binding = 0) readonly buffer X { uvec4 x[]; };
layout(set = 0, binding = 1) writeonly buffer Y { uvec4 y[]; };

float apply(float v) {
  switch (OP) {
    case 0: return uintBitsToFloat(floatBitsToUint(v) ^ 0x80000000u);
    case 1: return uintBitsToFloat(floatBitsToUint(v) & 0x7fffffffu);
    case 2: return exp_safe(v);
    case 3: return log_safe(v);
    case 4: return v < 0.0 ? NAN : is_inf(v) ? v : sqrt(v);
    case 5: return v < 0.0 ? NAN : v == 0.0 ? 1.0 / v : is_inf(v) ? 0.0 : 1.0 / sqrt(v);
    case 6: return v * v;
    case 7: return sin_safe(v);
    case 8: return cos_safe(v);
    case 9: return tanh_safe(v);
    case 10: return sigmoid_safe(v);
    case 11: return v < 0.0 ? 0.0 : v;
    case 12: return 0.5 * v * (1.0 + erf_safe(v * 0.7071067811865476));
    // v sigmoid(2u), u = sqrt(2/pi) (v + 0.044715 v^3)
    case 13: return v * sigmoid_safe(v * (1.5957691216057308 + 0.07135481282752194 * v * v));
    case 14: return v * sigmoid_safe(v);
    case 15: return erf_safe(v);
    case 16: return sinh_safe(v);
    case 17: return asinh_safe(v);
    case 18: return min(v, 0.0) - log_safe(1.0 + exp_safe(-abs(v)));  // log sigmoid
    default: return v > 0.0 ? v + 1.0 : exp_safe(v);  // elu + 1
  }
}

uint apply_int(int v) {
  switch (OP) {
    case 0: return uint(-v);
    case 1: return uint(v < 0 ? -v : v);
    case 6: return uint(v) * uint(v);
    default: return uint(max(v, 0));
  }
}

uint apply_word(uint word) {
  if (DTYPE == I32) return apply_int(int(word));
  if (DTYPE == F32) return floatBitsToUint(apply(uintBitsToFloat(word)));
  uint made = 0u;
  for (uint lane = 0u; lane < 2u; lane++)
    made = insert_bits(made, float_to_bits(apply(bits_to_float(extract_bits(word, DTYPE, lane), DTYPE)), DTYPE), DTYPE, lane);
  return made;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  uint i = GROUP_INDEX * gl_WorkGroupSize.x * STEPS + gl_LocalInvocationID.x;
  for (uint step = 0u; step < STEPS; step++, i += gl_WorkGroupSize.x) {
    if (i >= pc.units) return;
    const uvec4 v = x[i];
    y[i] = uvec4(apply_word(v.x), apply_word(v.y), apply_word(v.z), apply_word(v.w));
  }
}
