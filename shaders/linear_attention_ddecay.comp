#version 450
// ddecay_t = q_t dq_t - k_t dk_t + ddecay_{t+1} within a chunk, and rowsum(D S) at its end, S being the state after it
// and D its gradient: an invocation to a channel of a chunk. dq and dk are fp32.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
layout(std430, binding = 0) readonly buffer Q { uint q_words[]; };
layout(std430, binding = 1) readonly buffer K { uint k_words[]; };
layout(std430, binding = 2) readonly buffer Dq { float dq[]; };
layout(std430, binding = 3) readonly buffer Dk { float dk[]; };
layout(std430, binding = 4) readonly buffer States { float states[]; };
layout(std430, binding = 5) readonly buffer Last { float last[]; };
layout(std430, binding = 6) readonly buffer Dstates { float dstates[]; };
layout(std430, binding = 7) writeonly buffer Ddecay { float ddecay[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint i = unit % pc.dk, h = unit / pc.dk % pc.heads, rest = unit / pc.dk / pc.heads;
  const uint chunk = rest % pc.chunks, line = rest / pc.chunks * pc.heads + h;
  const bool at_end = chunk == pc.chunks - 1u;
  const uint after = (at_end ? line * pc.dk + i : state_row(line, chunk + 1u, i)) * pc.dv;
  const uint gradient = state_row(line, chunk, i) * pc.dv;
  float sum = 0.0;
  for (uint j = 0; j < pc.dv; ++j) sum += dstates[gradient + j] * (at_end ? last[after + j] : states[after + j]);
  for (uint t = min((chunk + 1u) * pc.chunk, pc.t); t-- > chunk * pc.chunk;) {
    const uint at = row_of(line, t) * pc.dk + i;
    sum += LOAD(q_words, DTYPE, at) * dq[at] - LOAD(k_words, DTYPE, at) * dk[at];
    ddecay[at] = sum;
  }
}
