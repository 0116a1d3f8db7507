// The maximum of a row, for kernels that exponentiate what lies below it.
#if defined(ATTN_CPU_SOFTMAX_ROW) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_SOFTMAX_ROW
#undef ATTN_CPU_SOFTMAX_ROW
#else
#define ATTN_CPU_SOFTMAX_ROW
#endif

#include <algorithm>
#include <limits>

#include "exp_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// What to subtract: a row that is -inf throughout has no maximum.
HWY_INLINE float finite_max(float max) { return max == -std::numeric_limits<float>::infinity() ? 0.0f : max; }

template <class T>
HWY_INLINE float row_max(const T* x, int64_t n) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  if (n < N) {
    float m = to_f32(x[0]);
    for (int64_t i = 1; i < n; i++) m = std::max(m, to_f32(x[i]));
    return m;
  }
  VF a = load(x), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    a = hn::Max(a, load(x + i));
    b = hn::Max(b, load(x + i + N));
    c = hn::Max(c, load(x + i + 2 * N));
    e = hn::Max(e, load(x + i + 3 * N));
  }
  for (; i + N <= n; i += N) a = hn::Max(a, load(x + i));
  a = hn::Max(a, load(x + n - N));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(a, b), hn::Max(c, e))));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
