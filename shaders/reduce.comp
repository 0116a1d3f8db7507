#version 450
// Reductions over any axes: one invocation to a word of output. Stages: input to output, or, for long reductions
// to few outputs, input to partial results [outputs, segments] and those to output.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/storage.glsl"
#include "lib/reduce.glsl"
PUSH(uint invocations; uint outputs; uint reduced; uint segment; float divide; uint kept_dims[4]; uint kept_strides[4];
     uint dims[4]; uint strides[4];);
layout(set = 0, binding = 0) readonly buffer In { uint words[]; } x;
layout(set = 0, binding = 1) writeonly buffer Out { uint words[]; } y;

uint kept_offset(uint o) {
  uint at = 0u;
  [[unroll]] for (int k = 3; k > 0; k--) {
    at += o % pc.kept_dims[k] * pc.kept_strides[k];
    o /= pc.kept_dims[k];
  }
  return at + o * pc.kept_strides[0];
}

// Of the axes around the innermost reduced one.
uint reduced_offset(uint r) {
  uint at = 0u;
  [[unroll]] for (int k = 2; k > 0; k--) {
    at += r % pc.dims[k] * pc.strides[k];
    r /= pc.dims[k];
  }
  return at + r * pc.strides[0];
}

Partial reduce(uint output_index, uint from, uint to) {
  const uint base = kept_offset(output_index), inner = pc.dims[3], step = pc.strides[3];
  Partial total = nothing();
  for (uint r = from; r < to;) {
    const uint first = r % inner, n = min(min(inner - first, to - r), 256u);
    uint at = base + reduced_offset(r / inner) + first * step;
    Partial part = nothing();
    for (uint k = 0u; k < n; k++, at += step) {
      if (STAGE == FROM_PARTS) {
        TAKE_PART(part, x.words, at)
      } else {
        take(part, LOAD_BITS(x.words, DTYPE, at), r + k);
      }
    }
    join(total, part);
    r += n;
  }
  return total;
}

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint w = GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
  if (w >= pc.invocations) return;
  if (STAGE == TO_PARTS) {
    const uint o = w % pc.outputs, s = w / pc.outputs, segments = (pc.reduced + pc.segment - 1u) / pc.segment;
    const Partial part = reduce(o, s * pc.segment, min(pc.reduced, (s + 1u) * pc.segment));
    STORE_PART(y.words, o * segments + s, part)
    return;
  }
  const int dtype = out_dtype();
  uint word = 0u;
  for (uint lane = 0u; lane < per_word(dtype); lane++) {
    const uint o = w * per_word(dtype) + lane;
    if (o < pc.outputs) word = insert_bits(word, result_bits(reduce(o, 0u, pc.reduced), pc.divide), dtype, lane);
  }
  y.words[w] = word;
}
