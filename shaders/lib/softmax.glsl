// What the kernels of softmax, its logarithm, logsumexp and their gradients share: two numbers of a line (`stats`) and
// what comes of an element once they are known. exp(x - max) is below or at 1: infinities and NaN by their bits, because
// drivers' exp may clamp them away.
#ifndef ATTN_SOFTMAX
#define ATTN_SOFTMAX
#include "math.glsl"
#include "sum.glsl"

const int SOFTMAX = 0, LOG_SOFTMAX = 1, LOGSUMEXP = 2, SOFTMAX_GRADIENT = 3, LOG_GRADIENT = 4;  // = src/ops/softmax.walk.ts
layout(constant_id = 2) const int KIND = 0;
const bool GRADIENT = KIND == SOFTMAX_GRADIENT || KIND == LOG_GRADIENT;

#define LOWEST uintBitsToFloat(0xff800000u)  // -inf

float exp_below(float x, float max) {
  // An infinite maximum has an infinite sum: of LOGSUMEXP alone, which is that and not NaN.
  const float d = KIND == LOGSUMEXP && x == max ? 0.0 : x - max;
  return nan_bits(d) ? d : d < -87.0 ? 0.0 : exp(d);
}

float greater(float a, float b) { return b > a ? b : a; }

// A line that is -inf throughout has nothing to subtract and nothing to divide by: it gives zeros, and -inf of logarithms.
bool lowest(float max) { return floatBitsToUint(max) == 0xff800000u; }
float max_or_0(float max) { return lowest(max) ? 0.0 : max; }
float inverse(float sum) { return sum == 0.0 ? 0.0 : 1.0 / sum; }

// What a line adds up, from its greatest element (or 0).
float summand(float x, float dy, float from) {
  if (KIND == SOFTMAX_GRADIENT) return dy * x;
  if (KIND == LOG_GRADIENT) return dy;
  return exp_below(x, from);
}

// The stats of a line, from its greatest element (-inf where all are) and its sum. Of LOGSUMEXP x is the result.
vec2 stats_of(float most, float sum) {
  if (KIND == SOFTMAX) return vec2(max_or_0(most), inverse(sum));
  if (KIND == LOG_SOFTMAX) return vec2(max_or_0(most), sum == 0.0 ? 0.0 : log_safe(sum));
  if (KIND == LOGSUMEXP) return vec2(sum == 0.0 ? LOWEST : max_or_0(most) + log_safe(sum), 0.0);
  return vec2(lowest(most) ? 0.0 : 1.0, sum);
}

float result(float x, float dy, vec2 stats) {
  if (KIND == SOFTMAX) return exp_below(x, stats.x) * stats.y;
  if (KIND == LOG_SOFTMAX) return x - stats.x - stats.y;
  if (KIND == LOGSUMEXP) return stats.x;
  if (KIND == SOFTMAX_GRADIENT) return x * (dy - stats.y);
  return stats.x == 0.0 ? 0.0 : dy - exp_below(x, 0.0) * stats.y;
}
#endif
