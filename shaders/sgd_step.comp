#version 450
// b = mu b + share g, b = g at the first step; p -= lr (nesterov ? g + mu b : b): src/ops/sgd.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/blocks.glsl"
layout(set = 0, binding = 0) buffer P { float of[]; } params;
layout(set = 0, binding = 1) readonly buffer G { float of[]; } grads;
layout(set = 0, binding = 2) buffer M { float of[]; } momentum;
layout(set = 0, binding = 3) readonly buffer B { uint words[]; } blocks;
layout(set = 0, binding = 4) readonly buffer H { float of[]; } groups;
layout(set = 0, binding = 5) readonly buffer T { float of[]; } steps;
layout(set = 0, binding = 6) readonly buffer S { float of[4]; } scalars;

void main() {
  FIND_BLOCK(block, row, first);
  if (row >= COLUMNS * pc.rows || scalars.of[FINITE] == 0.0) return;
  const float lr = groups.of[row], decay = groups.of[row + 1u], mu = groups.of[row + 2u], share = groups.of[row + 3u];
  const bool nesterov = groups.of[row + 4u] != 0.0, fresh = steps.of[block] == 1.0;
  const float clip = scalars.of[COEFFICIENT];
  for (uint k = 0u; k < BLOCK; k += LANES) {
    const uint e = first + k;
    const float p = params.of[e], g = grads.of[e] * clip + decay * p;
    const float b = fresh ? g : mu * momentum.of[e] + share * g;
    momentum.of[e] = b;
    params.of[e] = p - lr * (nesterov ? g + mu * b : b);
  }
}
