#version 450
// M = mu M + rest g; U = nesterov ? rest g + mu M : M, 0 where there is no step: src/ops/muon.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/blocks.glsl"
layout(set = 0, binding = 0) readonly buffer G { float of[]; } grads;
layout(set = 0, binding = 1) buffer M { float of[]; } momentum;
layout(set = 0, binding = 2) readonly buffer B { uint words[]; } blocks;
layout(set = 0, binding = 3) readonly buffer H { float of[]; } groups;
layout(set = 0, binding = 4) readonly buffer S { float of[4]; } scalars;
layout(set = 0, binding = 5) writeonly buffer U { float of[]; } direction;

void main() {
  FIND_BLOCK(block, row, first);
  if (row >= COLUMNS * pc.rows || scalars.of[FINITE] == 0.0) {
    for (uint k = 0u; k < BLOCK; k += LANES) direction.of[first + k] = 0.0;
    return;
  }
  const float mu = groups.of[row + 2u], rest = groups.of[row + 3u], clip = scalars.of[COEFFICIENT];
  const bool nesterov = groups.of[row + 4u] != 0.0;
  for (uint k = 0u; k < BLOCK; k += LANES) {
    const uint e = first + k;
    const float g = rest * (grads.of[e] * clip), m = mu * momentum.of[e] + g;
    momentum.of[e] = m;
    direction.of[e] = nesterov ? g + mu * m : m;
  }
}
