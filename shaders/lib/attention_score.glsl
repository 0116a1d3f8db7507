// The score of a query and a key, and its slopes, from their inner products and from numbers that each brings along, its
// sides. SCORE names it; a new one states here its value and its slopes, and every attention kernel has it.
//   dot         scale x                        x = q . k
//   born        scale ln(x^2 + 1e-6)
//   gram        min(0, x^2 + y^2 - A n) + c x  x = a . k, y = b . k; sides (A, c) of the query (a, b), n of the key
//   hyperbolic  -2 beta asinh(sqrt(h + 1e-12)) x = u . w, sides (r, beta) of the query, t of the key:
//               h = sinh^2((r - t) / 2) + sinh r sinh t max(0, 1 - x) / 2
// The last is -beta times the distance of two points at distances r and t from the origin, in directions u and w.
#ifndef ATTN_ATTENTION_SCORE
#define ATTN_ATTENTION_SCORE
#include "lib/math.glsl"

const int DOT = 0, BORN = 1, GRAM = 2, HYPERBOLIC = 3;  // = src/ops/attention.score.ts
const bool SIDED = SCORE >= GRAM;
const uint PARTS = SCORE == GRAM ? 2u : 1u;  // vectors of a query, one after the other

// The inner products of a key with the vectors of a query.
#define PRODUCTS(x, y) vec2(x, PARTS == 2u ? y : 0.0)

// d score by what it is made from, or those times dS.
struct Slopes {
  vec2 products, query;
  float key;
};

// Sides as scores take them: hyperbolic ones with sinh and cosh of the radius.
vec4 of_query(vec2 side) {
  if (SCORE != HYPERBOLIC) return vec4(side, 0.0, 0.0);
  const float s = sinh_between(side.x);
  return vec4(side, s, sqrt(1.0 + s * s));
}
vec3 of_key(float side) {
  if (SCORE != HYPERBOLIC) return vec3(side, 0.0, 0.0);
  const float s = sinh_between(side);
  return vec3(side, s, sqrt(1.0 + s * s));
}

// Comparisons that NaN fails, so that it goes on.
float at_most_0(float x) { return x > 0.0 ? 0.0 : x; }
float at_least_0(float x) { return x < 0.0 ? 0.0 : x; }

// sqrt(h + 1e-12), sinh of half the distance.
float half_distance(float x, float sinh_half, vec4 q, vec3 k) {
  return sqrt(sinh_half * sinh_half + 0.5 * q.z * k.y * at_least_0(1.0 - x) + 1e-12);
}

float score_of(vec2 x, vec4 q, vec3 k) {
  if (SCORE == BORN) return pc.scale * log_normal(x.x * x.x + 1e-6);
  if (SCORE == GRAM) return at_most_0(dot(x, x) - q.x * k.x) + q.y * x.x;
  if (SCORE == HYPERBOLIC)
    return -2.0 * q.y * asinh_between(half_distance(x.x, sinh_between(0.5 * (q.x - k.x)), q, k));
  return pc.scale * x.x;
}

Slopes slopes_of(vec2 x, vec4 q, vec3 k) {
  if (SCORE == BORN) return Slopes(vec2(pc.scale * 2.0 * x.x / (x.x * x.x + 1e-6), 0.0), vec2(0.0), 0.0);
  if (SCORE == GRAM) {
    const float below = dot(x, x) > q.x * k.x ? 0.0 : 1.0;
    return Slopes(below * 2.0 * x + vec2(q.y, 0.0), vec2(-below * k.x, x.x), -below * q.x);
  }
  if (SCORE == HYPERBOLIC) {
    const float half_sinh = sinh_between(0.5 * (q.x - k.x)), s = half_distance(x.x, half_sinh, q, k);
    const float by_h = -q.y / (s * sqrt(1.0 + s * s));
    const float apart = half_sinh * sqrt(1.0 + half_sinh * half_sinh), m = 0.5 * at_least_0(1.0 - x.x);
    const float by_x = -0.5 * by_h * q.z * k.y;
    return Slopes(vec2(x.x >= 1.0 ? 0.0 : by_x, 0.0),
                  vec2(by_h * (apart + m * q.w * k.y), -2.0 * asinh_between(s)),
                  by_h * (m * q.z * k.z - apart));
  }
  return Slopes(vec2(pc.scale, 0.0), vec2(0.0), 0.0);
}

// The slopes times dS = p (dp - delta); a key of no weight has no part in any gradient, whatever its slopes.
Slopes pulled(float p, float dp_less_delta, vec2 x, vec4 q, vec3 k) {
  const float ds = p * dp_less_delta;
  const Slopes by = slopes_of(x, q, k);
  const vec2 products = ds * by.products, query = ds * by.query;
  const float key = ds * by.key;
  const bool none = p == 0.0;
  return Slopes(none ? vec2(0.0) : products, none ? vec2(0.0) : query, none ? 0.0 : key);
}
#endif
