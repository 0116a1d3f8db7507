// Elementary functions in fp32 that do not lean on the driver's: GLSL lets exp lose bits with |x|, tanh overflow,
// log err by 2^-21 near 1, sin leave [-pi, pi], pow refuse negative bases, and NaN tests be compiled away.
// Polynomials are minimax fits, relative error below 5e-9 before rounding.
#ifndef ATTN_MATH
#define ATTN_MATH

#define INF uintBitsToFloat(0x7f800000u)
#define NAN uintBitsToFloat(0x7fc00000u)

bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }
bool is_inf(float x) { return (floatBitsToUint(x) & 0x7fffffffu) == 0x7f800000u; }

// 2^k for k in [-126, 127]
float power_of_two(int k) { return uintBitsToFloat(uint(k + 127) << 23); }

// e^x = 2^k e^r, |r| <= ln2 / 2, of x in [-104, 88.73]; the two halves of 2^k reach infinity and the subnormals.
float exp_between(float x) {
  const float k = floor(x * 1.44269504089 + 0.5);
  const float r = (x - k * 0.693359375) + k * 2.12194440055e-4;  // the first product is exact
  const float p = 0.5 + r * (0.16666512191295624 + r * (0.0416661873459816 + r * (0.008369598537683487 + r * 0.0013951717410236597)));
  const int n = int(k), half_n = n / 2;
  return (1.0 + (r + r * r * p)) * power_of_two(half_n) * power_of_two(n - half_n);
}
float exp_safe(float x) {
  if (is_nan(x)) return x;
  if (x > 88.73) return INF;
  if (x < -104.0) return 0.0;
  return exp_between(x);
}

// x = 2^e m, m in [sqrt(1/2), sqrt(2)], of a positive and normal x.
float mantissa(float x, out float e) {
  const uint bits = floatBitsToUint(x) - 0x3f3504f3u;  // the exponent changes at sqrt(1/2)
  e = float(int(bits) >> 23);
  return uintBitsToFloat((bits & 0x007fffffu) + 0x3f3504f3u);
}
// e ln2 + 2 atanh(s), |s| <= 0.172
float log_of(float e, float s) {
  const float z = s * s;
  const float tail = s * z * (0.6666666269302368 + z * (0.4000033438205719 + z * (0.28537285327911377 + z * 0.23582607507705688)));
  return e * 0.693359375 + (2.0 * s + (tail - e * 2.12194440055e-4));
}
// ln x of a positive and normal x, or of NaN.
float log_normal(float x) {
  float e;
  const float m = mantissa(x, e), y = log_of(e, (m - 1.0) / (m + 1.0));
  return is_nan(x) ? x : y;
}
float log_safe(float x) {
  if (is_nan(x)) return x;
  if (x < 0.0) return NAN;
  if ((floatBitsToUint(x) & 0x7fffffffu) == 0u) return -INF;
  if (is_inf(x)) return x;
  float shift = 0.0;
  if (x < 1.17549435e-38) {
    x *= 8388608.0;
    shift = -23.0;
  }
  float e;
  const float m = mantissa(x, e);
  return log_of(e + shift, (m - 1.0) / (m + 1.0));
}

// x - q pi/2 in [-pi/4, pi/4], q the nearest multiple: exact products up to |x| = 8192.
float reduce_angle(float x, out int q) {
  const float k = floor(x * 0.636619772368 + 0.5);
  q = int(k);
  return ((x - k * 1.5703125) - k * 4.837512969970703125e-4) - k * 7.54978995489188e-8;
}
float sin_kernel(float r) {
  const float z = r * r;
  return r + r * z * (-0.16666653752326965 + z * (0.008332131430506706 - z * 0.00019510836864355952));
}
float cos_kernel(float r) {
  const float z = r * r;
  return 1.0 - 0.5 * z + z * z * (0.04166664555668831 + z * (-0.0013887305976822972 + z * 2.443120138195809e-5));
}
// quarter 0 is sin, 1 is cos; farther out the driver's own is all there is
float sine(float x, int quarter) {
  if (is_nan(x) || is_inf(x)) return NAN;
  if (abs(x) > 8192.0) return quarter == 0 ? sin(x) : cos(x);
  int q;
  const float r = reduce_angle(x, q);
  q += quarter;
  const float v = (q & 1) == 0 ? sin_kernel(r) : cos_kernel(r);
  return (q & 2) == 0 ? v : -v;
}
float sin_safe(float x) { return sine(x, 0); }
float cos_safe(float x) { return sine(x, 1); }

float tanh_safe(float x) {
  const float a = abs(x);
  if (a < 0.625) {
    const float z = x * x;
    return x + x * z * (-0.3333328366279602 + z * (0.13331490755081177 + z * (-0.05374349281191826 + z * (0.020650573074817657 - z * 0.005717028398066759))));
  }
  if (is_nan(x)) return x;
  const float t = a > 9.1 ? 1.0 : 1.0 - 2.0 / (exp_safe(2.0 * a) + 1.0);
  return x < 0.0 ? -t : t;
}

float sigmoid_safe(float x) {
  if (is_nan(x)) return x;
  if (x < -104.0) return 0.0;  // as IEEE's 1 / (1 + inf), which drivers need not give
  return 1.0 / (1.0 + exp_safe(min(-x, 88.0)));
}

// |x| < 1: x S(x^2); beyond: 1 - exp(-L(|x|)); native/cpu/math.h evaluates the same polynomials.
float erf_safe(float x) {
  if (is_nan(x)) return x;
  const float a = abs(x);
  if (a < 1.0) {
    const float z = x * x;
    return x * (1.1283791065216064 + z * (-0.37612324953079224 + z * (0.11280179768800735 + z * (-0.02671130746603012 + z * (0.004917546641081572 - z * 0.0005631403182633221)))));
  }
  const float b = min(a, 4.0);
  const float l = 0.0003537023440003395 + b * (1.127040147781372 + b * (0.6382255554199219 + b * (0.10303746908903122 + b * (-0.02180536650121212 + b * (0.0029396195895969868 - b * 0.0001855752634583041)))));
  const float y = 1.0 - exp_safe(-l);
  return x < 0.0 ? -y : y;
}

// sinh x of |x| <= 88, without a branch, as kernels want it that unroll; NaN goes on. Below 1 Taylor's series, since the
// difference of exponentials would lose what they have in common.
float sinh_between(float x) {
  const float a = abs(x), z = x * x, t = exp_between(min(a, 88.0)), far = sign(x) * (0.5 * t - 0.5 / t);
  const float near = x + x * z * (0.16666666666666667 + z * (0.008333333333333333 + z * (1.9841269841269841e-4 + z * (2.7557319223985893e-6 + z * 2.505210838544172e-8))));
  return a > 1.0 ? far : near;
}
// Farther out in two halves, where e^a leaves float32 before its half.
float sinh_safe(float x) {
  const float a = abs(x);
  if (!(a > 88.0)) return sinh_between(x);
  const float t = exp_safe(0.5 * a), y = (0.5 * t) * t;
  return x < 0.0 ? -y : y;
}

// asinh s = ln(s + root), root = sqrt(1 + s^2), of s from 0 to 1e18, likewise; near 0, where the logarithm would lose
// digits, 2 atanh(s / (1 + root)).
float asinh_between(float s) {
  const float root = sqrt(1.0 + s * s), near = s / (1.0 + root);
  float e;
  const float m = mantissa(s + root, e), far = (m - 1.0) / (m + 1.0);
  const bool is_far = s > 0.35;
  return log_of(is_far ? e : 0.0, is_far ? far : near);
}
// Far out ln a + ln 2.
float asinh_safe(float x) {
  if (is_nan(x)) return x;
  const float a = abs(x), y = a > 1e6 ? log_safe(a) + 0.69314718056 : asinh_between(a);
  return uintBitsToFloat(floatBitsToUint(y) | (floatBitsToUint(x) & 0x80000000u));
}

// C's pow, its special cases included.
float pow_safe(float x, float y) {
  if (y == 0.0 || x == 1.0) return 1.0;
  if (is_nan(x) || is_nan(y)) return NAN;
  const float a = abs(x);
  const bool negative = (floatBitsToUint(x) & 0x80000000u) != 0u;
  const bool whole = abs(y) >= 8388608.0 || floor(y) == y;
  const bool odd = abs(y) < 16777216.0 && whole && floor(y * 0.5) * 2.0 != y;
  if (is_inf(y)) {
    if (a == 1.0) return 1.0;
    return (a > 1.0) == (y > 0.0) ? INF : 0.0;
  }
  float r;
  if (a == 0.0) {
    r = y > 0.0 ? 0.0 : INF;
  } else if (is_inf(a)) {
    r = y > 0.0 ? INF : 0.0;
  } else {
    if (negative && !whole) return NAN;
    r = exp_safe(clamp(y * log_safe(a), -200.0, 200.0));
  }
  return negative && odd ? -r : r;
}
#endif
