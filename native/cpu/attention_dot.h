// The product that attention is made of: c (+)= a b, where b and c are read in vectors along their rows and
// each number of a is broadcast. Words are float32, or pairs of bfloat16 along the depth of the product that
// AVX512-BF16 multiplies and adds in float32 (two at a time: twice the rate).
#if defined(ATTN_CPU_ATTENTION_DOT) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_DOT
#undef ATTN_CPU_ATTENTION_DOT
#else
#define ATTN_CPU_ATTENTION_DOT
#endif

#include "vec.h"

// What Highway 1.0 calls AVX3 is without AVX512-BF16: attention is compiled with it there, so that the
// intrinsics of BFloatDot compile, and has_bfloat_dot() says whether they may run. Compilers use these
// instructions nowhere else.
#undef ATTN_BFLOAT_DOT
#undef ATTN_ATTENTION_BEGIN
#if HWY_TARGET == HWY_AVX3
#define ATTN_BFLOAT_DOT 1
#define ATTN_ATTENTION_BEGIN                        \
  HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16") \
  static_assert(true, "For requiring trailing semicolon")
#else
#define ATTN_BFLOAT_DOT 0
#define ATTN_ATTENTION_BEGIN HWY_BEFORE_NAMESPACE()
#endif

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

struct FloatDot {
  static constexpr int64_t kPer = 1;  // elements to a word
  static HWY_INLINE VF add(VF sum, VF a, VF b) { return hn::MulAdd(a, b, sum); }
};

#if ATTN_BFLOAT_DOT
struct BFloatDot {
  static constexpr int64_t kPer = 2;
  static HWY_INLINE VF add(VF sum, VF a, VF b) { return VF{_mm512_dpbf16_ps(sum.raw, bits(a), bits(b))}; }
  // Lanes of `low`, then of `high`, rounded: pairs along the lanes.
  static HWY_INLINE VF narrow(VF low, VF high) {
    return VF{_mm512_castsi512_ps(reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high.raw, low.raw)))};
  }
  // Lane by lane, one of `first` and one of `second`: pairs across two rows.
  static HWY_INLINE VF zip(VF first, VF second) {
    alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                        21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                        11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return VF{_mm512_castsi512_ps(_mm512_permutexvar_epi16(
        _mm512_load_si512(kOrder), reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second.raw, first.raw))))};
  }

 private:
  static HWY_INLINE __m512bh bits(VF v) { return reinterpret_cast<__m512bh>(v.raw); }
};
inline bool has_bfloat_dot() {
  static const bool has = __builtin_cpu_supports("avx512bf16");
  return has;
}
#endif

// Element (row, k) of the broadcast side is at[row * row_step + k * step].
struct Left {
  const float* at;
  int64_t row, step;
  Left from(int64_t rows, int64_t depth) const { return {at + rows * row + depth * step, row, step}; }
};
// Element k of the vector side begins at at + k * step.
struct Right {
  const float* at;
  int64_t step;
  Right from(int64_t depth, int64_t lanes) const { return {at + depth * step + lanes, step}; }
};

// What c starts from: 0, itself, or itself times a factor for each row.
struct Start {
  enum Kind { zero, add, scale } kind;
  const float* factor = nullptr;
  Start from(int64_t rows) const { return {kind, factor ? factor + rows : nullptr}; }
};

template <class Dot, int R, int V>
HWY_INLINE void block(Left a, Right b, int64_t depth, float* HWY_RESTRICT c, int64_t c_row, Start start) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  VF sum[R][V];
  if (start.kind == Start::zero) {
    for (int r = 0; r < R; r++)
      for (int v = 0; v < V; v++) sum[r][v] = hn::Zero(d);
  } else {
    for (int r = 0; r < R; r++)
      for (int v = 0; v < V; v++) sum[r][v] = hn::LoadU(d, c + r * c_row + v * N);
    if (start.kind == Start::scale)
      for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) sum[r][v] = hn::Mul(sum[r][v], hn::Set(d, start.factor[r]));
  }
  // A pointer to every third row: the two after it are addressed from there.
  const float* rows[(R + 2) / 3];
  for (int r = 0; r < R; r += 3) rows[r / 3] = a.at + r * a.row;
  const float* from = b.at;
  for (int64_t k = 0; k < depth; k++) {
    VF y[V];
    for (int v = 0; v < V; v++) y[v] = hn::LoadU(d, from + v * N);
    for (int r = 0; r < R; r++) {
      const VF x = hn::Set(d, rows[r / 3][r % 3 * a.row]);
      for (int v = 0; v < V; v++) sum[r][v] = Dot::add(sum[r][v], x, y[v]);
    }
    for (int r = 0; r < R; r += 3) rows[r / 3] += a.step;
    from += b.step;
  }
  for (int r = 0; r < R; r++)
    for (int v = 0; v < V; v++) hn::StoreU(sum[r][v], d, c + r * c_row + v * N);
}

#if HWY_TARGET == HWY_AVX3
inline constexpr int kMostVectors = 4;  // 32 registers: 24 sums at most
constexpr int most_rows(int vectors) { return vectors == 1 ? 16 : vectors <= 3 ? 8 : 6; }
#else
inline constexpr int kMostVectors = 2;  // 16 registers: 12 sums at most
constexpr int most_rows(int vectors) { return vectors == 1 ? 8 : 6; }
#endif

template <class Dot, int V>
HWY_NOINLINE void columns(Left a, Right b, int64_t depth, float* c, int64_t c_row, int64_t rows,
                          Start start) {
  constexpr int kMost = most_rows(V);
  int64_t r = 0;
  const auto some = [&]<int R>() HWY_ATTR {
    block<Dot, R, V>(a.from(r, 0), b, depth, c + r * c_row, c_row, start.from(r));
    r += R;
  };
  while (r + kMost <= rows) some.template operator()<kMost>();
  if constexpr (kMost > 8)
    if (r + 8 <= rows) some.template operator()<8>();
  if (r + 4 <= rows) some.template operator()<4>();
  if (r + 2 <= rows) some.template operator()<2>();
  if (r < rows) some.template operator()<1>();
}

// c[rows, vectors * lanes] (+)= a[rows, depth] b[depth, vectors * lanes], depth in words.
template <class Dot>
void product(Left a, Right b, int64_t depth, float* c, int64_t c_row, int64_t rows, int64_t vectors,
             Start start) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(F32()));
  for (int64_t at = 0; at < vectors;) {
    const int64_t left = vectors - at, passes = (left + kMostVectors - 1) / kMostVectors;
    const int64_t width = (left + passes - 1) / passes;
    const auto some = [&]<int V>() HWY_ATTR {
      columns<Dot, V>(a, b.from(0, at * N), depth, c + at * N, c_row, rows, start);
    };
    if (width == 1) some.template operator()<1>();
    if (width == 2) some.template operator()<2>();
    if constexpr (kMostVectors > 2) {
      if (width == 3) some.template operator()<3>();
      if (width == 4) some.template operator()<4>();
    }
    at += width;
  }
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
