// Rows of a norm as fp32 vectors, and sums over them; compiled once for each instruction set, as vec.h is.
#if defined(ATTN_CPU_NORM_VEC) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_NORM_VEC
#undef ATTN_CPU_NORM_VEC
#else
#define ATTN_CPU_NORM_VEC
#endif

#include <algorithm>

#include "norm.h"
#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

HWY_INLINE int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F32())); }

// Sum over i = 0, lanes, 2 lanes ... < n of fn(i), a vector each: four chains, carried into a double now and
// then.
template <class F>
HWY_INLINE double sum_vectors(int64_t n, F&& fn) {
  constexpr int64_t kCarry = 8192;  // elements
  const F32 d;
  const int64_t N = lanes();
  double total = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = std::min(n, i + kCarry);
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (; i + 4 * N <= end; i += 4 * N) {
      s0 = hn::Add(s0, fn(i));
      s1 = hn::Add(s1, fn(i + N));
      s2 = hn::Add(s2, fn(i + 2 * N));
      s3 = hn::Add(s3, fn(i + 3 * N));
    }
    for (; i < end; i += N) s0 = hn::Add(s0, fn(i));
    total += hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  }
  return total;
}

// fn(i, whole) at every vector of a row: `whole` says that all of its lanes belong to the row.
template <class F>
HWY_INLINE void each_vector(int64_t n, F&& fn) {
  const int64_t N = lanes();
  int64_t i = 0;
  for (; i + N <= n; i += N) fn(i, true);
  if (i < n) fn(i, false);
}

// A row as fp32 in whole vectors: where it is, or copied to `buffer` with zeros in the pad.
template <class T>
HWY_INLINE const float* widened(const void* rows, int64_t row, int64_t n, float* buffer) {
  const T* from = static_cast<const T*>(rows) + row * n;
  if constexpr (sizeof(T) == 4)
    if (n % lanes() == 0) return from;
  each_vector(n, [&](int64_t i, bool whole) HWY_ATTR {
    store(whole ? load(from + i) : load_n(from + i, static_cast<size_t>(n - i)), buffer + i);
  });
  return buffer;
}
HWY_INLINE const float* widened(DType dtype, const void* rows, int64_t row, int64_t n, float* buffer) {
  return with_float(dtype, [&](auto t) HWY_ATTR { return widened<decltype(t)>(rows, row, n, buffer); });
}

// As it comes back once it was stored.
template <class T>
HWY_INLINE VF rounded(VF v, T) {
  if constexpr (sizeof(T) == 4) return v;
  HWY_ALIGN T kept[HWY_MAX_BYTES / 4];
  store(v, kept);
  return load(kept);
}

template <bool kStream, class T>
HWY_INLINE void put(VF v, T* to, bool whole, int64_t rest) {
  if (!whole)
    store_n(v, to, static_cast<size_t>(rest));
  else if constexpr (kStream)
    stream(v, to);
  else
    store(v, to);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
