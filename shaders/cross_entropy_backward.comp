#version 450
// dx = (exp(x - lse) - target) g: an invocation makes 16 bytes where rows are whole vectors, else a word. Element 0 of
// the windows of x and dx is element `first` of the tensors. Spec constants: 1 dtype, 2 vectors.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/softmax.glsl"
const uint MEAN = 0u, SUM = 1u, NONE = 2u;  // = src/ops/cross-entropy.rows.ts
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int VECTORS = 0;
PUSH(uint units; uint first; uint size; uint n; uint ignored; float peak; float even; uint reduction;);
layout(set = 0, binding = 0) readonly buffer Loss { float of[]; } dloss;
layout(set = 0, binding = 1) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) readonly buffer In4 { uvec4 words[]; } x4;
layout(set = 0, binding = 2) readonly buffer Labels { uint of[]; } labels;
layout(set = 0, binding = 3) readonly buffer Lse { float of[]; } lse;
layout(set = 0, binding = 4) readonly buffer Count { uint of[]; } counted;
layout(set = 0, binding = 5) writeonly buffer Out { uint words[]; } dx;
layout(set = 0, binding = 5) writeonly buffer Out4 { uvec4 words[]; } dx4;

struct Row {
  uint label;
  float lse, g;
  bool counts;
};

Row row_at(uint r) {
  Row row;
  row.label = labels.of[r];
  row.counts = row.label != pc.ignored && row.label < pc.n;
  row.lse = lse.of[r];
  row.g = dloss.of[pc.reduction == NONE ? r : 0u];
  if (pc.reduction == MEAN) row.g /= float(max(counted.of[0], 1u));
  return row;
}

uint gradient(Row row, uint column, uint bits) {
  if (!row.counts) return 0u;
  const float target = (column == row.label ? pc.peak : 0.0) + pc.even;
  return float_to_bits((exp_below(bits_to_float(bits, DTYPE), row.lse) - target) * row.g, DTYPE);
}

uint gradients(Row row, uint column, uint word) {
  uint made = 0u;
  [[unroll]] for (uint lane = 0u; lane < per_word(DTYPE); lane++)
    made = insert_bits(made, gradient(row, column + lane, extract_bits(word, DTYPE, lane)), DTYPE, lane);
  return made;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint u = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x, lanes = per_word(DTYPE);
  if (u >= pc.units) return;
  if (VECTORS != 0) {
    const uint e = pc.first + 4u * lanes * u, r = e / pc.n, column = e - r * pc.n;
    const Row row = row_at(r);
    const uvec4 v = x4.words[u];
    dx4.words[u] = uvec4(gradients(row, column, v.x), gradients(row, column + lanes, v.y),
                         gradients(row, column + 2u * lanes, v.z), gradients(row, column + 3u * lanes, v.w));
    return;
  }
  const uint word = x.words[u];
  uint made = 0u;
  for (uint lane = 0u; lane < lanes; lane++) {
    if (u * lanes + lane >= pc.size) break;
    const uint e = pc.first + u * lanes + lane, r = e / pc.n;
    made = insert_bits(made, gradient(row_at(r), e - r * pc.n, extract_bits(word, DTYPE, lane)), DTYPE, lane);
  }
  dx.words[u] = made;
}
