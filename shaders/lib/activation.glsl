// Activations and their slopes; the codes are the places in the table of src/ops/activations.ts. The same formulas as
// shaders/unary.comp: fused and unfused agree.
#ifndef ATTN_ACTIVATION
#define ATTN_ACTIVATION
#include "lib/math.glsl"

float activate(int code, float x) {
  switch (code) {
    case 1: return x < 0.0 ? 0.0 : x;
    case 2: return 0.5 * x * (1.0 + erf_safe(x * 0.7071067811865476));
    case 3: return x * sigmoid_safe(x * (1.5957691216057308 + 0.07135481282752194 * x * x));
    case 4: return x * sigmoid_safe(x);
    case 5: return sigmoid_safe(x);
    case 6: return tanh_safe(x);
    default: return x;
  }
}

float slope(int code, float x) {
  switch (code) {
    case 1: return is_nan(x) ? x : x > 0.0 ? 1.0 : 0.0;
    // Phi(x) + x Phi'(x); past 30 the density is 0, and x may be infinite
    case 2:
      return 0.5 * (1.0 + erf_safe(x * 0.7071067811865476)) +
             (abs(x) > 30.0 ? 0.0 : x * 0.3989422804014327 * exp_safe(-0.5 * x * x));
    // s + x s (1 - s) d(2u)/dx, s = sigmoid(2u), 2u = x (c + d x^2)
    case 3: {
      const float s = sigmoid_safe(x * (1.5957691216057308 + 0.07135481282752194 * x * x));
      return s + (abs(x) > 30.0 ? 0.0 : x * s * (1.0 - s) * (1.5957691216057308 + 0.21406443848258282 * x * x));
    }
    case 4: {
      const float s = sigmoid_safe(x);
      return s + (abs(x) > 200.0 ? 0.0 : x * s * (1.0 - s));
    }
    case 5: {
      const float s = sigmoid_safe(x);
      return s * (1.0 - s);
    }
    case 6: {
      const float t = tanh_safe(x);
      return 1.0 - t * t;
    }
    default: return 1.0;
  }
}
#endif
