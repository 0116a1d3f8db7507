// What both directions of linear attention do with a chunk: rows and decays brought into float32, decayed
// products, sums over a triangle.
#if defined(ATTN_CPU_LINEAR_CHUNK) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_LINEAR_CHUNK
#undef ATTN_CPU_LINEAR_CHUNK
#else
#define ATTN_CPU_LINEAR_CHUNK
#endif

#include <algorithm>

#include "attention_tile.h"
#include "exp_vec.h"
#include "linear_attention.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

inline constexpr int64_t kChunk = kLinearChunk;

// One head of an operand [B, T, H, D].
template <class T>
struct HeadRows {
  T* at;
  int64_t D, step, tokens;
  HeadRows(const void* x, const LinearProblem& p, int64_t head, int64_t size)
      : at(static_cast<T*>(const_cast<void*>(x)) + (head / p.H * p.T * p.H + head % p.H) * size),
        D(size),
        step(p.H * size),
        tokens(p.T) {}
  T* row(int64_t t) const { return at + t * step; }
  // Rows [t, t + rows) to `to`, each padded to whole vectors by zeros; the next chunk is `ahead` of this one.
  void load(int64_t t, int64_t rows, float* to, int64_t ahead = kChunk) const {
    for (int64_t r = 0; r < rows; r++) {
      prefetch_row(row(std::clamp<int64_t>(t + r + ahead, 0, tokens - 1)), D);
      widen_row(row(t + r), D, to + r * padded_head(D), 1);
    }
  }
  void save(int64_t t, int64_t rows, const float* from) const {
    for (int64_t r = 0; r < rows; r++) narrow_row(from + r * padded_head(D), 1, row(t + r), D);
  }
};

// Calls fn<V>(column) for groups of V vectors of a row.
template <class F>
HWY_INLINE void each_columns(int64_t width, F&& fn) {
  const int64_t N = lanes();
  int64_t at = 0;
  for (; at + 4 * N <= width; at += 4 * N) fn.template operator()<4>(at);
  for (; at + 2 * N <= width; at += 2 * N) fn.template operator()<2>(at);
  for (; at < width; at += N) fn.template operator()<1>(at);
}

// V vectors beside each other.
template <int V>
struct Vectors {
  VF v[V];
  HWY_INLINE static Vectors of(const float* from) {
    Vectors x;
    for (int i = 0; i < V; i++) x.v[i] = hn::LoadU(F32(), from + i * lanes());
    return x;
  }
  HWY_INLINE void to(float* at) const {
    for (int i = 0; i < V; i++) hn::StoreU(v[i], F32(), at + i * lanes());
  }
  HWY_INLINE void add(float factor, const Vectors& x) {
    for (int i = 0; i < V; i++) v[i] = hn::MulAdd(hn::Set(F32(), factor), x.v[i], v[i]);
  }
  HWY_INLINE void times(const Vectors& x) {
    for (int i = 0; i < V; i++) v[i] = hn::Mul(v[i], x.v[i]);
  }
  HWY_INLINE float dot(const Vectors& x) const {
    VF sum = hn::Mul(v[0], x.v[0]);
    for (int i = 1; i < V; i++) sum = hn::MulAdd(v[i], x.v[i], sum);
    return hn::GetLane(hn::SumOfLanes(F32(), sum));
  }
};

// exp(decay) of rows [t, t + rows).
inline void load_decays(const HeadRows<const float>& decay, int64_t t, int64_t rows, float* a,
                        int64_t ahead = kChunk) {
  const F32 d;
  decay.load(t, rows, a, ahead);
  for (float* at = a; at < a + rows * padded_head(decay.D); at += lanes())
    hn::StoreU(exp_below_0(hn::Min(hn::Set(d, 88.0f), hn::LoadU(d, at))), d, at);
}

// out_r = x_r times the decays after r (of keys), or up to r and its own (of queries); `all` is the product
// of all.
template <bool kAfter>
inline void decay_rows(const float* x, const float* a, int64_t rows, int64_t width, float* out, float* all) {
  const F32 d;
  for (int64_t c = 0; c < width; c += lanes()) {
    VF product = hn::Set(d, 1.0f);
    for (int64_t n = 0; n < rows; n++) {
      const int64_t at = (kAfter ? rows - 1 - n : n) * width + c;
      const VF factor = hn::LoadU(d, a + at);
      if (!kAfter) product = hn::Mul(product, factor);
      hn::StoreU(hn::Mul(hn::LoadU(d, x + at), product), d, out + at);
      if (kAfter) product = hn::Mul(product, factor);
    }
    hn::StoreU(product, d, all + c);
  }
}

// scores[t][s] = sum_i q_t[i] k_s[i] (a_{s+1} … a_t)[i] for s <= t: the decays are multiplied one by one.
inline void decayed_scores(const float* q, const float* k, const float* a, int64_t rows, int64_t width,
                           float* scores) {
  each_columns(width, [&]<int V>(int64_t c) HWY_ATTR {
    for (int64_t s = 0; s < rows; s++) {
      auto w = Vectors<V>::of(k + s * width + c);
      for (int64_t t = s; t < rows; t++) {
        if (t > s) w.times(Vectors<V>::of(a + t * width + c));
        const float sum = w.dot(Vectors<V>::of(q + t * width + c));
        float& score = scores[t * kChunk + s];
        score = c == 0 ? sum : score + sum;
      }
    }
  });
}

// Two rows of a triangle at a time share what they read.

// out_r += sum over n <= r of c[r r_step + n n_step] x_n. Nothing of a later row is even multiplied by 0.
inline void add_lower(const float* coefficient, int64_t r_step, int64_t n_step, const float* x, int64_t rows,
                      int64_t width, float* out) {
  each_columns(width, [&]<int V>(int64_t c) HWY_ATTR {
    for (int64_t r = 0; r < rows; r += 2) {
      const bool two = r + 1 < rows;
      const float* const f = coefficient + r * r_step;
      const float* const g = two ? f + r_step : f;
      auto first = Vectors<V>::of(out + r * width + c);
      auto second = Vectors<V>::of(out + (two ? r + 1 : r) * width + c);
      for (int64_t n = 0; n <= r; n++) {
        const auto y = Vectors<V>::of(x + n * width + c);
        first.add(f[n * n_step], y), second.add(g[n * n_step], y);
      }
      first.to(out + r * width + c);
      if (!two) continue;
      second.add(g[(r + 1) * n_step], Vectors<V>::of(x + (r + 1) * width + c));
      second.to(out + (r + 1) * width + c);
    }
  });
}

// out_r += sum over n >= r of c[r r_step + n n_step] x_n.
inline void add_upper(const float* coefficient, int64_t r_step, int64_t n_step, const float* x, int64_t rows,
                      int64_t width, float* out) {
  each_columns(width, [&]<int V>(int64_t c) HWY_ATTR {
    for (int64_t r = 0; r < rows; r += 2) {
      const bool two = r + 1 < rows;
      const float* const f = coefficient + r * r_step;
      const float* const g = two ? f + r_step : f;
      auto first = Vectors<V>::of(out + r * width + c);
      auto second = Vectors<V>::of(out + (two ? r + 1 : r) * width + c);
      first.add(f[r * n_step], Vectors<V>::of(x + r * width + c));
      for (int64_t n = r + 1; n < rows; n++) {
        const auto y = Vectors<V>::of(x + n * width + c);
        first.add(f[n * n_step], y), second.add(g[n * n_step], y);
      }
      first.to(out + r * width + c);
      if (two) second.to(out + (r + 1) * width + c);
    }
  });
}

// The same with decays, by Horner's rule: out_r = … a_n (out_r) + c x_n for n = 0 … r: what out holds decays
// by all of a_0 … a_r.
inline void add_lower_decayed(const float* coefficient, int64_t r_step, int64_t n_step, const float* x,
                              const float* a, int64_t rows, int64_t width, float* out) {
  each_columns(width, [&]<int V>(int64_t c) HWY_ATTR {
    for (int64_t r = 0; r < rows; r += 2) {
      const bool two = r + 1 < rows;
      const float* const f = coefficient + r * r_step;
      const float* const g = two ? f + r_step : f;
      auto first = Vectors<V>::of(out + r * width + c);
      auto second = Vectors<V>::of(out + (two ? r + 1 : r) * width + c);
      for (int64_t n = 0; n <= r; n++) {
        const auto y = Vectors<V>::of(x + n * width + c), decay = Vectors<V>::of(a + n * width + c);
        first.times(decay), second.times(decay);
        first.add(f[n * n_step], y), second.add(g[n * n_step], y);
      }
      first.to(out + r * width + c);
      if (!two) continue;
      second.times(Vectors<V>::of(a + (r + 1) * width + c));
      second.add(g[(r + 1) * n_step], Vectors<V>::of(x + (r + 1) * width + c));
      second.to(out + (r + 1) * width + c);
    }
  });
}

// out_r = a_n (out_r + c x_n) for n = rows - 1 … r + 1, and c x_r in the end: what out holds decays by
// a_{r+1} …
inline void add_upper_decayed(const float* coefficient, int64_t r_step, int64_t n_step, const float* x,
                              const float* a, int64_t rows, int64_t width, float* out) {
  each_columns(width, [&]<int V>(int64_t c) HWY_ATTR {
    for (int64_t r = 0; r < rows; r += 2) {
      const bool two = r + 1 < rows;
      const float* const f = coefficient + r * r_step;
      const float* const g = two ? f + r_step : f;
      auto first = Vectors<V>::of(out + r * width + c);
      auto second = Vectors<V>::of(out + (two ? r + 1 : r) * width + c);
      for (int64_t n = rows - 1; n > r + 1; n--) {
        const auto y = Vectors<V>::of(x + n * width + c), decay = Vectors<V>::of(a + n * width + c);
        first.add(f[n * n_step], y), second.add(g[n * n_step], y);
        first.times(decay), second.times(decay);
      }
      if (two) {
        const int64_t n = r + 1;
        const auto y = Vectors<V>::of(x + n * width + c);
        second.add(g[n * n_step], y);
        second.to(out + n * width + c);
        first.add(f[n * n_step], y);
        first.times(Vectors<V>::of(a + n * width + c));
      }
      first.add(f[r * n_step], Vectors<V>::of(x + r * width + c));
      first.to(out + r * width + c);
    }
  });
}

// ---------------------------------------------------------------- states

// A state as loops carry it: Dk rows of whole vectors.
inline void load_state(const LinearProblem& p, LinearState from, float* to) {
  const int64_t width = padded_head(p.Dv);
  for (int64_t i = 0; i < p.Dk; i++) {
    if (from.at)
      widen_row(from.at + i * from.row, p.Dv, to + i * width, 1);
    else
      std::fill_n(to + i * width, width, 0.0f);
  }
}
inline void save_state(const LinearProblem& p, const float* from, LinearState to) {
  if (!to.at) return;
  for (int64_t i = 0; i < p.Dk; i++) std::copy_n(from + i * padded_head(p.Dv), p.Dv, to.at + i * to.row);
}

// S = diag(all) S + sum over the rows of x_r y_rᵀ; x and all belong to the rows of the state.
inline void add_to_state(const LinearProblem& p, const float* x, const float* y, int64_t rows,
                         const float* all, float* state) {
  const int64_t width = padded_head(p.Dv);
  product<FloatDot>({x, 1, padded_head(p.Dk)}, {y, width}, rows, state, width, p.Dk, width / lanes(),
                    all ? Start{Start::scale, all} : Start{Start::add});
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
