// Sums that stay exact to about one rounding over any number of terms (Kahan).
#ifndef ATTN_SUM
#define ATTN_SUM

bool finite_bits(float x) { return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u; }
bool nan_bits(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

// The true sum is sum - lost. Infinities leave nothing to compensate.
void add_exactly(inout float sum, inout float lost, float x) {
  precise const float y = x - lost;
  precise const float t = sum + y;
  precise const float rest = (t - sum) - y;
  lost = finite_bits(rest) ? rest : 0.0;
  sum = t;
}
#endif
