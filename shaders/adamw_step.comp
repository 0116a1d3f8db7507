#version 450
// p = p (1 - lr wd) - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps), the means first: src/ops/adamw.ts.
#extension GL_GOOGLE_include_directive : enable
#include "lib/head.glsl"
#include "lib/math.glsl"
#include "lib/blocks.glsl"
layout(set = 0, binding = 0) buffer P { float of[]; } params;
layout(set = 0, binding = 1) readonly buffer G { float of[]; } grads;
layout(set = 0, binding = 2) buffer M { float of[]; } mean;
layout(set = 0, binding = 3) buffer V { float of[]; } square;
layout(set = 0, binding = 4) readonly buffer B { uint words[]; } blocks;
layout(set = 0, binding = 5) readonly buffer H { float of[]; } groups;
layout(set = 0, binding = 6) readonly buffer T { float of[]; } steps;
layout(set = 0, binding = 7) readonly buffer S { float of[4]; } scalars;

void main() {
  FIND_BLOCK(block, row, first);
  if (row >= COLUMNS * pc.rows || scalars.of[FINITE] == 0.0) return;
  const float lr = groups.of[row], decay = groups.of[row + 1u], eps = groups.of[row + 2u], beta2 = groups.of[row + 3u],
              rest1 = groups.of[row + 4u], rest2 = groups.of[row + 5u];
  const float t = steps.of[block], clip = scalars.of[COEFFICIENT];
  const float rate = lr / one_minus_exp(t * groups.of[row + 6u]);
  const float root = 1.0 / sqrt(one_minus_exp(t * groups.of[row + 7u]));
  const float keep = 1.0 - lr * decay;
  for (uint k = 0u; k < BLOCK; k += LANES) {
    const uint e = first + k;
    const float g = grads.of[e] * clip;
    const float m = mean.of[e] + rest1 * (g - mean.of[e]);
    const float v = beta2 * square.of[e] + rest2 * g * g;
    mean.of[e] = m;
    square.of[e] = v;
    params.of[e] = params.of[e] * keep - rate * m / (sqrt(v) * root + eps);
  }
}
