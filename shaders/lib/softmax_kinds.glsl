// Softmax, its logarithm, logsumexp and the gradients of the first two: two numbers of a line (`stats`), and what comes of
// an element once they are known. Spec constant 2: kind.
#ifndef ATTN_SOFTMAX_KINDS
#define ATTN_SOFTMAX_KINDS
#include "math.glsl"
#include "softmax.glsl"

const int SOFTMAX = 0, LOG_SOFTMAX = 1, LOGSUMEXP = 2, SOFTMAX_GRADIENT = 3, LOG_GRADIENT = 4;  // = src/ops/softmax.walk.ts
layout(constant_id = 2) const int KIND = 0;
const bool GRADIENT = KIND == SOFTMAX_GRADIENT || KIND == LOG_GRADIENT;

bool is_lowest(float max) { return floatBitsToUint(max) == 0xff800000u; }

// An infinite maximum has an infinite sum: of LOGSUMEXP alone, which is that and not NaN.
float exp_of(float x, float max) { return KIND == LOGSUMEXP && x == max ? 1.0 : exp_below(x, max); }

// What a line adds up, from its greatest element (or 0).
float summand(float x, float dy, float from) {
  if (KIND == SOFTMAX_GRADIENT) return dy * x;
  if (KIND == LOG_GRADIENT) return dy;
  return exp_of(x, from);
}

// The stats of a line, from its greatest element (-inf where all are) and its sum. Of LOGSUMEXP x is the result.
vec2 stats_of(float most, float sum) {
  if (KIND == SOFTMAX) return vec2(max_or_0(most), inverse(sum));
  if (KIND == LOG_SOFTMAX) return vec2(max_or_0(most), sum == 0.0 ? 0.0 : log_safe(sum));
  if (KIND == LOGSUMEXP) return vec2(sum == 0.0 ? LOWEST : max_or_0(most) + log_safe(sum), 0.0);
  return vec2(is_lowest(most) ? 0.0 : 1.0, sum);
}

float result(float x, float dy, vec2 stats) {
  if (KIND == SOFTMAX) return exp_of(x, stats.x) * stats.y;
  if (KIND == LOG_SOFTMAX) return x - stats.x - stats.y;
  if (KIND == LOGSUMEXP) return stats.x;
  if (KIND == SOFTMAX_GRADIENT) return x * (dy - stats.y);
  return stats.x == 0.0 ? 0.0 : dy - exp_of(x, 0.0) * stats.y;
}
#endif
