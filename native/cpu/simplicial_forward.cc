// Simplicial attention forward. Of a tile of four queries and sixteen offsets in k2's window, the products
// a = q ∘ k2 are 64 columns; against a tile of keys their scores are S = K A, one matrix product, and with
// the weights P of each column R = Pᵀ V is another. A column carries its own running maximum and sum over the
// keys (Dao, arXiv:2307.08691); then the columns of a row are put together: o += Σ R ∘ v2. In base 2: q comes
// with scale log2 e.
#include <algorithm>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simplicial_forward.cc"
#include "simplicial.h"
#include "targets.h"

#include <hwy/foreach_target.h>

#include "exp2.h"
#include "simplicial_tile.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

template <class T>
struct SimplicialForward {
  struct Scratch {
    PackedKeys first, second;
    float *q, *a, *across, *s, *r, *o;
    float *m, *l, *e, *alpha;  // of the columns; alpha is the weight of each in its row at the end
    float *row_m, *row_l, *row_e;
    Scratch(const SimplicialProblem& p, int64_t from, int64_t to, Bump& bump)
        : first(p, p.reach_of_rows(from, to, p.w1), bump), second(p, p.reach_of_rows(from, to, p.w2), bump) {
      const int64_t words = p.score_width(), width = p.value_width();
      q = bump.take(kRows * words);
      a = bump.take(kColumns * words);
      across = bump.take(words * kColumns);
      s = bump.take(kTileKeys * kColumns);
      r = bump.take(kColumns * width);
      o = bump.take(kRows * width);
      for (float** stat : {&m, &l, &e, &alpha}) *stat = bump.take(kColumns);
      for (float** stat : {&row_m, &row_l, &row_e}) *stat = bump.take(kRows);
    }
  };

  static size_t scratch(const SimplicialProblem& p, int64_t first, int64_t last) {
    Bump bump(nullptr);
    Scratch(p, first, last, bump);
    return bump.used();
  }

  static void run(const SimplicialCall& call, const SimplicialCut&, const SimplicialTask& task,
                  float* memory) {
    const SimplicialProblem& p = *call.p;
    Bump bump(memory);
    const Scratch x(p, task.first, task.last, bump);
    x.first.template pack<T>(p, task, call.k, call.v);
    x.second.template pack<T>(p, task, call.k2, call.v2);
    for (int64_t at = task.first; at < task.last; at += kRows) one_tile(call, SimplicialTile(p, task, at), x);
  }

 private:
  static void one_tile(const SimplicialCall& call, const SimplicialTile& tile, const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    const int64_t words = p.score_width(), width = p.value_width();
    for (int64_t r = 0; r < kRows; r++) x.row_m[r] = -kInfinity, x.row_l[r] = x.row_e[r] = 0;
    std::fill(x.o, x.o + kRows * width, 0.0f);
    for (int64_t r = 0; r < tile.rows; r++)
      pack_score_row(p, static_cast<const T*>(call.q) + tile.at(r), p.scale * kLog2E, x.q + r * words);
    if (tile.keys.size() > 0)
      for (int64_t o = tile.from; o < tile.to; o += kOffsets) {
        const Columns columns(tile, call.mask, o);
        if (!columns.any) continue;
        for (int64_t c = 0; c < columns.count; c++) {
          float* const to = x.a + c * words;
          if (columns.key[c] < 0)
            std::fill(to, to + words, 0.0f);
          else
            combine<false>(p, x.q + c % kRows * words, second_key(p, x, columns.key[c]), to);
        }
        transpose_words(x.a, words, columns.count, round_up(p.score_depth(), 4), x.across, kColumns);
        if (p.entropy) {
          sweep<true>(call, tile, columns, x);
          join<true>(tile, columns, x);
        } else {
          sweep<false>(call, tile, columns, x);
          join<false>(tile, columns, x);
        }
      }
    finish(call, tile, x);
  }

  static const float* second_key(const SimplicialProblem& p, const Scratch& x, int64_t j) {
    return x.second.k + (j - x.second.span.begin) * p.score_width();
  }

  // m, l, e and R of the columns, over all keys that the tile sees.
  template <bool kEntropy>
  static void sweep(const SimplicialCall& call, const SimplicialTile& tile, const Columns& columns,
                    const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    const int64_t words = p.score_width(), width = p.value_width(), N = lanes(), used = columns.lanes_used();
    for (int64_t c = 0; c < kColumns; c++) x.m[c] = -kInfinity, x.l[c] = x.e[c] = 0;
    for (int64_t j = tile.keys.begin; j < tile.keys.end; j += kTileKeys) {
      const Span keys{j, std::min(j + kTileKeys, tile.keys.end)};
      const int64_t at = j - x.first.span.begin;
      product<FloatDot>({x.first.k + at * words, words, 1}, {x.across, kColumns}, p.score_depth(), x.s,
                        kColumns, keys.size(), used / N, {Start::zero});
      const Seen seen(tile, columns, call.mask, keys);
      for (int64_t lane = 0; lane < used; lane += N) weigh<kEntropy>(seen, keys.size(), lane, x);
      product<FloatDot>({x.s, 1, kColumns}, {x.first.v + at * width, width}, keys.size(), x.r, width,
                        columns.count, width / N,
                        {j == tile.keys.begin ? Start::zero : Start::scale, x.alpha});
    }
  }

  // Scores of N columns to weights: maxima and sums carried on, P = 2^(s - m) stored.
  template <bool kEntropy>
  static HWY_INLINE void weigh(const Seen& seen, int64_t count, int64_t lane, const Scratch& x) {
    const F32 d;
    float* const s = x.s + lane;
    const VF lowest = hn::Set(d, -kInfinity);
    VF max = lowest;
    for (int64_t k = 0; k < count; k++) {
      VF y = hn::Load(d, s + k * kColumns);
      if (!seen.whole) {
        y = hn::IfThenElse(seen(k, lane), y, lowest);
        hn::Store(y, d, s + k * kColumns);
      }
      max = hn::Max(max, y);
    }
    const VF before = hn::Load(d, x.m + lane), m = hn::Max(before, max);
    const VF from = hn::IfThenZeroElse(hn::Eq(m, lowest), m);
    const VF alpha = exp2_below_127(hn::Sub(before, from));
    VF l = hn::Mul(hn::Load(d, x.l + lane), alpha), e = hn::Zero(d);
    if constexpr (kEntropy)  // e = Σ P (s - m), moved to the new m; a first m of -inf has nothing to move
      e = hn::Mul(alpha, hn::MulAdd(hn::Max(hn::Sub(before, from), hn::Set(d, -1e4f)),
                                    hn::Load(d, x.l + lane), hn::Load(d, x.e + lane)));
    for (int64_t k = 0; k < count; k++) {
      const VF y = hn::Sub(hn::Load(d, s + k * kColumns), from), w = exp2_below_127(y);
      l = hn::Add(l, w);
      if constexpr (kEntropy) e = hn::MulAdd(w, hn::Max(y, hn::Set(d, -1e4f)), e);
      hn::Store(w, d, s + k * kColumns);
    }
    hn::Store(m, d, x.m + lane);
    hn::Store(alpha, d, x.alpha + lane);
    hn::Store(l, d, x.l + lane);
    if constexpr (kEntropy) hn::Store(e, d, x.e + lane);
  }

  // The columns of each row together, and with what the row had.
  template <bool kEntropy>
  static void join(const SimplicialTile& tile, const Columns& columns, const Scratch& x) {
    const F32 d;
    const SimplicialProblem& p = tile.p;
    const int64_t width = p.value_width(), N = lanes(), used = columns.lanes_used();
    alignas(64) float from[kRows], shrink[kRows];
    for (int64_t r = 0; r < tile.rows; r++) {
      float max = x.row_m[r];
      for (int64_t c = r; c < columns.count; c += kRows) max = std::max(max, x.m[c]);
      from[r] = max == -kInfinity ? 0 : max;
      shrink[r] = std::exp2(x.row_m[r] - from[r]);
      if constexpr (kEntropy)
        x.row_e[r] = shrink[r] * (x.row_e[r] + std::max(x.row_m[r] - from[r], -1e4f) * x.row_l[r]);
      x.row_l[r] *= shrink[r];
      x.row_m[r] = max;
    }
    for (int64_t r = tile.rows; r < kRows; r++) from[r] = 0;
    const VF base = hn::LoadDup128(d, from);
    for (int64_t lane = 0; lane < used; lane += N) {
      const VF moved = hn::Sub(hn::Load(d, x.m + lane), base), w = exp2_below_127(moved);
      const VF l = hn::Load(d, x.l + lane);
      hn::Store(w, d, x.alpha + lane);
      if constexpr (kEntropy) {
        const VF e = hn::MulAdd(hn::Max(moved, hn::Set(d, -1e4f)), l, hn::Load(d, x.e + lane));
        hn::Store(hn::Mul(w, e), d, x.e + lane);
      }
      hn::Store(hn::Mul(w, l), d, x.l + lane);
    }
    for (int64_t r = 0; r < tile.rows; r++) {
      float* const o = x.o + r * width;
      for (int64_t c = r; c < columns.count; c += kRows) x.row_l[r] += x.l[c], x.row_e[r] += x.e[c];
      for (int64_t at = 0; at < width; at += N) {
        VF sum = hn::Mul(hn::Load(d, o + at), hn::Set(d, shrink[r]));
        for (int64_t c = r; c < columns.count; c += kRows) {
          if (columns.key[c] < 0) continue;
          const float* const v2 = x.second.v + (columns.key[c] - x.second.span.begin) * width;
          const VF weighed = hn::Mul(hn::Load(d, x.r + c * width + at), hn::Set(d, x.alpha[c]));
          sum = hn::MulAdd(weighed, hn::LoadU(d, v2 + at), sum);
        }
        hn::Store(sum, d, o + at);
      }
    }
  }

  // o = O / l, lse = m + log l, entropy = log l - e / l; a row that saw nothing gives 0, -inf, 0.
  static void finish(const SimplicialCall& call, const SimplicialTile& tile, const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    for (int64_t r = 0; r < tile.rows; r++) {
      const float l = x.row_l[r];
      const bool none = l == 0;
      const float inverse = none ? 0 : 1 / l, log_l = none ? 0 : std::log(l);
      call.lse[tile.stat(r)] = none ? -kInfinity : x.row_m[r] * kLn2 + log_l;
      if (call.entropy) call.entropy[tile.stat(r)] = none ? 0 : log_l - x.row_e[r] * inverse * kLn2;
      narrow_row(x.o + r * p.value_width(), inverse, static_cast<T*>(call.o) + tile.at(r), p.D);
    }
  }
};

SimplicialLoops ChooseSimplicialForward(DType dtype) {
  return with_float(dtype, [](auto t) {
    using Of = SimplicialForward<decltype(t)>;
    return SimplicialLoops{Of::scratch, Of::run};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseSimplicialForward);
SimplicialLoops simplicial_forward(const SimplicialProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseSimplicialForward)(p.dtype);
}
}  // namespace attn::cpu
#endif
