#version 450
// out[index[i, j, ..], j, ..] += dy[i, j, ..]: an invocation owns a word of out and looks through the lines of the index
// that may point to it. Axes stand innermost first. Spec constants: 1 dtype, 2 rank, 3 the axis.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
layout(constant_id = 1) const int DTYPE = 0;
layout(constant_id = 2) const int RANK = 8;
layout(constant_id = 3) const int AXIS = 0;
PUSH(uint words; uint size; uint len; uint stride; uint dims[8]; uint index_dims[8]; uint index_strides[8];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } dy;
layout(set = 0, binding = 1) readonly buffer Index { uint of[]; } index;
layout(set = 0, binding = 2) writeonly buffer Out { uint words[]; } dx;

const uint FLUSH = 64u;  // terms between carries, so that rounding errors grow with n / 64

float sum_at(uint e) {
  uint at = 0u, wanted = 0u;
  bool inside = true;
  [[unroll]] for (int a = 0; a < RANK; a++) {
    const uint coordinate = a == RANK - 1 ? e : e % pc.dims[a];
    e /= pc.dims[a];
    if (a == AXIS) {
      wanted = coordinate;
    } else {
      inside = inside && coordinate < pc.index_dims[a];
      at += coordinate * pc.index_strides[a];
    }
  }
  if (!inside) return 0.0;
  float total = 0.0, part = 0.0;
  uint terms = 0u;
  for (uint k = 0u; k < pc.len; k++, at += pc.stride) {
    if (index.of[at] != wanted) continue;
    part += LOAD(dy.words, DTYPE, at);
    if (++terms % FLUSH == 0u) {
      total += part;
      part = 0.0;
    }
  }
  return total + part;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.words) return;
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(DTYPE); lane++) {
    const uint e = w * per_word(DTYPE) + lane;
    if (e >= pc.size) break;
    word = insert_bits(word, float_to_bits(sum_at(e), DTYPE), DTYPE, lane);
  }
  dx.words[w] = word;
}
