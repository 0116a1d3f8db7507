#version 450
// From what chunks add to the state to the state before each (BACK: from the end, to the gradient of the state after
// each), and the last one: an invocation to an element of a head's state.
#extension GL_GOOGLE_include_directive : require
#include "lib/linear_attention.glsl"
layout(constant_id = 6) const bool START = false;  // there is a state to start from
layout(std430, binding = 0) readonly buffer Start { float start[]; };
layout(std430, binding = 1) readonly buffer All { float all[]; };
layout(std430, binding = 2) buffer States { float states[]; };
layout(std430, binding = 3) writeonly buffer Last { float last[]; };

void main() {
  if (GROUP_INDEX >= pc.count) return;
  const uint unit = unit_of();
  if (unit >= pc.units) return;
  const uint size = pc.dk * pc.dv, line = unit / size, i = unit % size / pc.dv, j = unit % pc.dv;
  float s = START ? start[unit] : 0.0;
  for (uint n = 0; n < pc.chunks; ++n) {
    const uint row = state_row(line, BACK ? pc.chunks - 1u - n : n, i), at = row * pc.dv + j;
    const float added = states[at];
    states[at] = s;
    s = (DECAY ? all[row] * s : s) + added;
  }
  last[unit] = s;
}
