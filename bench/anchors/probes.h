// Loops whose speed is the machine's: compiled for several instruction sets, the best chosen at run time.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#define PROBE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define PROBE_CLONES
#endif

namespace probe {

// ---- plain loops, vectorised by the compiler

PROBE_CLONES inline float sum(const float* x, int64_t n) {
  float s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += x[i];
  return s;
}

PROBE_CLONES inline void add(const float* x, const float* y, float* z, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) z[i] = x[i] + y[i];
}

// ---- streaming stores: the written lines are not read first, which saves a quarter of add's traffic.
// Targets are 64-byte aligned; the tail is stored as usual.

#if defined(__x86_64__)
// z = x + scale*y where y is given, else a copy of x.
template <class Combine, class Last>
inline void stream_with(float* z, int64_t n, Combine combine, Last last) {
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) _mm_stream_ps(z + i, combine(i));
  for (; i < n; ++i) z[i] = last(i);
  _mm_sfence();
}

__attribute__((target("avx512f"))) inline int64_t add_stream512(const float* x, const float* y, float* z,
                                                                int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm512_stream_ps(z + i, _mm512_add_ps(_mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
  return i;
}
__attribute__((target("avx512f"))) inline int64_t triad_stream512(const float* x, const float* y, float* z,
                                                                  int64_t n) {
  const __m512 three = _mm512_set1_ps(3);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    _mm512_stream_ps(z + i, _mm512_fmadd_ps(three, _mm512_loadu_ps(y + i), _mm512_loadu_ps(x + i)));
  return i;
}
__attribute__((target("avx512f"))) inline int64_t copy_stream512(const float* x, float* z, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_stream_ps(z + i, _mm512_loadu_ps(x + i));
  return i;
}
inline bool wide() {
  static const bool has = __builtin_cpu_supports("avx512f");
  return has;
}

inline void add_streaming(const float* x, const float* y, float* z, int64_t n) {
  const int64_t at = wide() ? add_stream512(x, y, z, n) : 0;
  x += at, y += at;
  stream_with(
      z + at, n - at, [=](int64_t i) { return _mm_add_ps(_mm_loadu_ps(x + i), _mm_loadu_ps(y + i)); },
      [=](int64_t i) { return x[i] + y[i]; });
}
inline void triad_streaming(const float* x, const float* y, float* z, int64_t n) {
  const int64_t at = wide() ? triad_stream512(x, y, z, n) : 0;
  x += at, y += at;
  stream_with(
      z + at, n - at,
      [=](int64_t i) {
        return _mm_add_ps(_mm_loadu_ps(x + i), _mm_mul_ps(_mm_set1_ps(3), _mm_loadu_ps(y + i)));
      },
      [=](int64_t i) { return x[i] + 3 * y[i]; });
}
inline void copy_streaming(const float* x, float* z, int64_t n) {
  const int64_t at = wide() ? copy_stream512(x, z, n) : 0;
  x += at;
  stream_with(
      z + at, n - at, [=](int64_t i) { return _mm_loadu_ps(x + i); }, [=](int64_t i) { return x[i]; });
}
#else
inline void add_streaming(const float* x, const float* y, float* z, int64_t n) { add(x, y, z, n); }
inline void triad_streaming(const float* x, const float* y, float* z, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) z[i] = x[i] + 3 * y[i];
}
inline void copy_streaming(const float* x, float* z, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) z[i] = x[i];
}
#endif

// ---- arithmetic ceilings: chains of multiply-adds that only registers feed

struct Round {
  void (*run)(int64_t rounds) = nullptr;
  double flops = 0;  // of one round on one thread
};

inline volatile float sink;

#if defined(__x86_64__)
// 16 chains hide a latency of 4-5 cycles at two a cycle, with room. The empty asm keeps the chains apart.
// They are variables, not an array: the compiler would write every element of an array back to memory in
// every round.
#define PROBE_12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define PROBE_16(X) PROBE_12(X) X(12) X(13) X(14) X(15)
#define PROBE_SINK512(i) sink = _mm512_cvtss_f32(a##i);
#define PROBE_ONE512(i) __m512 a##i = _mm512_set1_ps(1);

__attribute__((target("avx512f"))) inline void fma512(int64_t rounds) {
  const __m512 k = _mm512_set1_ps(0.999f);
  PROBE_16(PROBE_ONE512)
  for (int64_t r = 0; r < rounds; ++r) {
#define PROBE_STEP(i)                 \
  a##i = _mm512_fmadd_ps(a##i, k, k); \
  asm volatile("" : "+v"(a##i));
    PROBE_16(PROBE_STEP)
#undef PROBE_STEP
  }
  PROBE_16(PROBE_SINK512)
}
__attribute__((target("avx2,fma"))) inline void fma256(int64_t rounds) {
  const __m256 k = _mm256_set1_ps(0.999f);
#define PROBE_ONE(i) __m256 a##i = _mm256_set1_ps(1);
  PROBE_12(PROBE_ONE)
#undef PROBE_ONE
  for (int64_t r = 0; r < rounds; ++r) {
#define PROBE_STEP(i)                 \
  a##i = _mm256_fmadd_ps(a##i, k, k); \
  asm volatile("" : "+x"(a##i));
    PROBE_12(PROBE_STEP)
#undef PROBE_STEP
  }
#define PROBE_SINK(i) sink = _mm256_cvtss_f32(a##i);
  PROBE_12(PROBE_SINK)
#undef PROBE_SINK
}
// vdpbf16ps: 32 products and 32 additions.
__attribute__((target("avx512f,avx512bf16"))) inline void bf16_512(int64_t rounds) {
  const __m512bh k = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  PROBE_16(PROBE_ONE512)
  for (int64_t r = 0; r < rounds; ++r) {
#define PROBE_STEP(i)                  \
  a##i = _mm512_dpbf16_ps(a##i, k, k); \
  asm volatile("" : "+v"(a##i));
    PROBE_16(PROBE_STEP)
#undef PROBE_STEP
  }
  PROBE_16(PROBE_SINK512)
}
inline Round fma_round() {
  if (__builtin_cpu_supports("avx512f")) return {fma512, 16 * 32};
  if (__builtin_cpu_supports("fma")) return {fma256, 12 * 16};
  return {};
}
inline Round bf16_round() {
  if (__builtin_cpu_supports("avx512bf16")) return {bf16_512, 16 * 64};
  return {};
}
#else
inline void fma_chains(int64_t rounds) {
  float acc[96], k = 0.999f;
  for (auto& a : acc) a = 1;
  for (int64_t r = 0; r < rounds; ++r) {
#pragma omp simd
    for (int i = 0; i < 96; ++i) acc[i] = acc[i] * k + k;
  }
  for (auto& a : acc) sink = a;
}
inline Round fma_round() { return {fma_chains, 96 * 2}; }
inline Round bf16_round() { return {}; }
#endif

}  // namespace probe
