// Attention forward. A tile of queries lies along the lanes of vectors: scores of a tile of keys are made as
// s[key][query] = K Qᵀ, so that maxima, exponentials and sums of rows are those of lanes; then O = alpha O +
// Pᵀ V in rows of queries, P being the broadcast side. Online softmax as in FlashAttention-2 (Dao,
// arXiv:2307.08691), in base 2: m and the exponents are in units of log2.
#if defined(ATTN_CPU_ATTENTION_FORWARD) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_FORWARD
#undef ATTN_CPU_ATTENTION_FORWARD
#else
#define ATTN_CPU_ATTENTION_FORWARD
#endif

#include <algorithm>
#include <type_traits>

#include <hwy/contrib/math/math-inl.h>

#include "attention_score.h"
#include "attention_tile.h"
#include "exp2.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kForwardKeys = 128;  // in a tile

template <class T, class Dot, class S>
struct Forward {
  static constexpr int64_t kPer = Dot::kPer;
  static constexpr int kVectors = S::kVectors;
  static constexpr int64_t kTile = kForwardKeys * kQueries;  // scores

  // Of a task: keys, their fields and values of its head, one tile each of queries and their fields, of
  // scores for each vector, of weights and output; row statistics.
  struct Scratch {
    float *k, *k_fields, *v, *q, *q_across, *q_fields, *s, *weights, *o, *bias, *m, *l, *e, *alpha;
    Scratch(const AttentionProblem& p, int64_t keys, Bump& bump) {
      const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D);
      k = bump.take(keys * words);
      k_fields = bump.take(S::kKeyFields * round_up(keys, kStep));
      v = bump.take((keys + kPer - 1) / kPer * width);
      q = bump.take(kQueries * words);
      q_across = bump.take(kVectors * words * kQueries);
      q_fields = bump.take(S::kQueryFields * kQueries);
      s = bump.take(kVectors * kTile);
      weights = kPer == 1 ? s : bump.take(kForwardKeys / kPer * kQueries);
      o = bump.take(kQueries * width);
      bias = bump.take(bias_floats(p, kForwardKeys));
      for (float** stat : {&m, &l, &e, &alpha}) *stat = bump.take(kQueries);
    }
  };

  static size_t scratch(const AttentionProblem& p, int64_t keys) {
    Bump bump(nullptr);
    Scratch(p, keys + kStep, bump);
    return bump.used();
  }

  static void run(const AttentionCall& call, const AttentionTask& task, float* memory) {
    const AttentionProblem& p = *call.p;
    const int64_t last = std::min(task.last * kQueries, p.rows()) - 1;
    const Span seen{round_down(QueryTile::seen_by(p, task.first * kQueries / p.group).begin, kStep),
                    QueryTile::seen_by(p, last / p.group).end};
    const int64_t count = std::max<int64_t>(0, seen.size());
    Bump bump(memory);
    const Scratch x(p, count, bump);
    const Keys keys = keys_of(call, task, seen, x);
    for (int64_t n = task.first; n < task.last; n++) {
      const QueryTile tile(p, task.b, task.kv_head, n * kQueries, lanes());
      call.entropy ? one_tile<true>(call, tile, keys, x) : one_tile<false>(call, tile, keys, x);
    }
  }

 private:
  // Keys to broadcast, values in vectors along D, both from key `first` on.
  struct Keys {
    int64_t first;
    Left k;
    Right v;
    KeyFields fields;
  };
  static Keys keys_of(const AttentionCall& call, const AttentionTask& task, Span seen, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D);
    const int64_t count = std::max<int64_t>(0, seen.size());
    const auto row = [&](const AttentionOperand& operand, int64_t j) {
      return row_of<const T>(operand, task.b, j, task.kv_head);
    };
    const KeyFields fields =
        key_fields<S>(call, task.b, task.kv_head, {seen.begin, seen.begin + count}, x.k_fields);
    if constexpr (std::is_same_v<T, float>)
      if (rows_serve<Dot, T>(p, task.last - task.first))
        return {seen.begin,
                {row(call.k, seen.begin), call.k.row, 1},
                {row(call.v, seen.begin), call.v.row},
                fields};
    for (int64_t j = seen.begin; j < seen.end; j++) {
      const int64_t ahead = std::min(j + kAhead, p.Tk - 1);
      prefetch_row(row(call.k, ahead), p.D), prefetch_row(row(call.v, ahead), p.D);
      word_row<Dot>(row(call.k, j), p.D, x.k + (j - seen.begin) * words, 1);
      if constexpr (kPer == 1) widen_row(row(call.v, j), p.D, x.v + (j - seen.begin) * width, 1);
    }
    if constexpr (kPer == 2) {
      alignas(64) uint16_t two[2][256] = {};  // rows that end within a vector, or that there are not
      const auto bits = [&](int64_t j, uint16_t* buffer) {
        const auto* const from = reinterpret_cast<const uint16_t*>(row(call.v, std::min(j, seen.end - 1)));
        if (j < seen.end && p.D == width) return from;
        std::memcpy(buffer, from, static_cast<size_t>(j < seen.end ? p.D : 0) * 2);
        return static_cast<const uint16_t*>(buffer);
      };
      for (int64_t j = seen.begin; j < seen.end; j += 2) {
        if (j + 1 == seen.end) std::memset(two[1], 0, sizeof two[1]);
        zip_rows(bits(j, two[0]), bits(j + 1, two[1]), width, x.v + (j - seen.begin) / 2 * width);
      }
    }
    return {seen.begin, {x.k, words, 1}, {x.v, width}, fields};
  }

  template <bool kEntropy>
  static void one_tile(const AttentionCall& call, const QueryTile& tile, const Keys& all, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t width = padded_head(p.D), N = lanes();
    pack_queries(call, tile, x);
    query_fields<S>(call, tile, x.q_fields);
    for (int64_t r = 0; r < kQueries; r++) x.m[r] = -kInfinity, x.l[r] = 0, x.e[r] = 0;

    bool fresh = true;
    for (int64_t j = round_down(tile.keys.begin, kStep); j < tile.keys.end; j += kForwardKeys) {
      const Span keys{j, std::min(j + kForwardKeys, tile.keys.end)};
      const Left k = all.k.from(j - all.first, 0);
      const bool whole = tile.sees_all(keys);
      Span seeing[kForwardKeys / kStep];  // rows that see any key of a step
      if (whole) {
        products(p, k, x, 0, {0, tile.lanes}, keys.size());
      } else {
        for (int64_t at = 0; at < keys.size(); at += kStep) {
          const Span some{j + at, std::min(j + at + kStep, keys.end)};
          const Span r = seeing[at / kStep] = tile.seeing(some, N);
          products(p, k.from(at, 0), x, at, r, some.size());
        }
      }
      const Bias bias = bias_of(tile, call.mask, keys, x.bias);
      for (int64_t lane = 0; lane < tile.lanes; lane += N)
        weigh<kEntropy>(tile, keys, whole ? nullptr : seeing, bias, all.fields.from(j - all.first), lane, x);

      const Right v = all.v.from((j - all.first) / kPer, 0);
      const Left weights{x.weights, 1, kQueries};
      const Start start{fresh ? Start::zero : Start::scale, x.alpha};
      const auto values = [&](Span rows, Span part) {  // keys `part` of the tile
        product<Dot>(weights.from(rows.begin, part.begin / kPer), v.from(part.begin / kPer, 0),
                     (part.size() + kPer - 1) / kPer, x.o + rows.begin * width, width, rows.size(), width / N,
                     start.from(rows.begin));
      };
      if (whole) {
        values({0, tile.rows}, {0, keys.size()});
      } else {
        for (int64_t r = 0; r < tile.rows; r += kStep) {
          const Span rows{r, std::min(r + kStep, tile.rows)};
          const int64_t from = std::clamp<int64_t>(tile.low[r] - j, 0, keys.size());
          const int64_t to = std::clamp<int64_t>(tile.high[rows.end - 1] - j, from, keys.size());
          values(rows, {round_down(from, kStep), to});
        }
      }
      fresh = false;
    }
    if (fresh) std::fill(x.o, x.o + tile.rows * width, 0.0f);
    finish<kEntropy>(call, tile, x);
  }

  // The vectors of each row across the lanes, one after the other.
  static void pack_queries(const AttentionCall& call, const QueryTile& tile, const Scratch& x) {
    const int64_t D = tile.p.D, words = head_words<Dot>(D);
    // The sign of a factor goes to the queries, so that the larger score stays larger.
    const float sign = S::kLinear && tile.p.scale < 0 ? -1.0f : 1.0f;
    for (int v = 0; v < kVectors; v++) {
      for (int64_t r = 0; r < tile.rows; r++) {
        prefetch_row(tile.template at<const T>(call.q, std::min(r + kAhead, tile.rows - 1)) + v * D, D);
        if (v == 0) prefetch_row(tile.template at<const T>(call.o, r), D);
        word_row<Dot>(tile.template at<const T>(call.q, r) + v * D, D, x.q + r * words, sign);
      }
      std::fill(x.q + tile.rows * words, x.q + round_up(tile.lanes, 4) * words, 0.0f);
      transpose_words(x.q, words, round_up(tile.lanes, 4), words, x.q_across + v * words * kQueries,
                      kQueries);
    }
  }

  // x = K Qᵀ of `count` keys, from key `at` of the tile on, and of the rows in `lanes`.
  static HWY_INLINE void products(const AttentionProblem& p, Left k, const Scratch& x, int64_t at, Span rows,
                                  int64_t count) {
    for (int v = 0; v < kVectors; v++)
      product<Dot>(k, {x.q_across + v * head_words<Dot>(p.D) * kQueries + rows.begin, kQueries},
                   (p.D + kPer - 1) / kPer, x.s + v * kTile + at * kQueries + rows.begin, kQueries, count,
                   rows.size() / lanes(), {Start::zero});
  }

  // Scores of N queries to weights: maxima and sums of the rows carried on, P = 2^(s - m) stored.
  template <bool kEntropy>
  static HWY_INLINE void weigh(const QueryTile& tile, Span keys, const Span* seeing, const Bias& bias,
                               KeyFields fields, int64_t lane, const Scratch& x) {
    const F32 d;
    const int64_t count = keys.size();
    const bool whole = seeing == nullptr;
    float factor = std::abs(tile.p.scale) * kLog2E;
    float* const s = x.s + lane;
    const typename S::Queries queries(x.q_fields + lane, kQueries, tile.p.scale);
    const auto score_of = [&](int64_t k) HWY_ATTR {
      VF y[kVectors];
      for (int v = 0; v < kVectors; v++) y[v] = hn::Load(d, s + v * kTile + k * kQueries);
      return S::value(queries, fields, k, y);
    };
    VF max = hn::Set(d, -kInfinity);
    // Keys of which none of these rows sees any are not even computed.
    const auto each_step = [&](auto&& seen, auto&& unseen) HWY_ATTR {
      for (int64_t at = 0; at < count; at += kStep) {
        const Span some{at, std::min(at + kStep, count)};
        if (whole || (lane >= seeing[at / kStep].begin && lane < seeing[at / kStep].end))
          seen(some);
        else
          unseen(some);
      }
    };
    if (S::kLinear && whole && !bias.any) {
      for (int64_t k = 0; k < count; k++) max = hn::Max(max, hn::Load(d, s + k * kQueries));
      max = hn::Mul(max, hn::Set(d, factor));
    } else {
      each_step(
          [&](Span some) HWY_ATTR {
            for (int64_t k = some.begin; k < some.end; k++) {
              VF y = score_of(k);
              if (bias.any) y = bias.add(y, k, lane);
              if (!whole) y = hide(y, keys.begin + k, tile, lane);
              hn::Store(y, d, s + k * kQueries);
              max = hn::Max(max, y);
            }
          },
          [](Span) {});
      factor = 1;
    }
    const VF before = hn::Load(d, x.m + lane), m = hn::Max(before, max);
    const VF from = hn::IfThenZeroElse(hn::Eq(m, hn::Set(d, -kInfinity)), m);
    const VF alpha = exp2_below_127(hn::Sub(before, from));
    hn::Store(m, d, x.m + lane);
    hn::Store(alpha, d, x.alpha + lane);
    VF l = hn::Mul(hn::Load(d, x.l + lane), alpha), e = hn::Zero(d);
    if constexpr (kEntropy) {
      // e = sum P (s - m), moved to the new m; a first m of -inf has nothing to move.
      const VF moved = hn::MulAdd(hn::Max(hn::Sub(before, from), hn::Set(d, -1e4f)), hn::Load(d, x.l + lane),
                                  hn::Load(d, x.e + lane));
      e = hn::Mul(moved, alpha);
    }
    const VF c = hn::Set(d, factor);
    const auto weight = [&](int64_t k) HWY_ATTR {
      const VF y = hn::MulSub(hn::Load(d, s + k * kQueries), c, from);
      const VF w = exp2_below_127(y);
      l = hn::Add(l, w);
      if constexpr (kEntropy) e = hn::MulAdd(w, hn::Max(y, hn::Set(d, -1e4f)), e);
      return w;
    };
    const auto seen = [&](Span some) HWY_ATTR {
      if constexpr (kPer == 1) {
        for (int64_t k = some.begin; k < some.end; k++) hn::Store(weight(k), d, s + k * kQueries);
      }
#if ATTN_BFLOAT_DOT
      else {
        for (int64_t k = some.begin; k < some.end; k += 2) {
          const VF one = weight(k), two = k + 1 < some.end ? weight(k + 1) : hn::Zero(d);
          hn::Store(Dot::zip(one, two), d, x.weights + k / 2 * kQueries + lane);
        }
      }
#endif
    };
    if (whole)
      seen({0, count});
    else
      each_step(seen, [&](Span some) HWY_ATTR {
        for (int64_t k = some.begin / kPer; k < (some.end + kPer - 1) / kPer; k++)
          hn::Store(hn::Zero(d), d, x.weights + k * kQueries + lane);
      });
    hn::Store(l, d, x.l + lane);
    if constexpr (kEntropy) hn::Store(e, d, x.e + lane);
  }

  // o = O / l, lse = m + log l, entropy = log l - e / l; a row that saw nothing gives 0, -inf, 0.
  template <bool kEntropy>
  static void finish(const AttentionCall& call, const QueryTile& tile, const Scratch& x) {
    const F32 d;
    const int64_t N = lanes(), D = tile.p.D, width = padded_head(D);
    for (int64_t lane = 0; lane < tile.lanes; lane += N) {
      const VF l = hn::Load(d, x.l + lane), m = hn::Load(d, x.m + lane);
      const auto none = hn::Eq(l, hn::Zero(d));
      const VF inverse = hn::IfThenZeroElse(none, hn::Div(hn::Set(d, 1.0f), l));
      // NaN must not pass through a logarithm that does not know it.
      const VF log_l = hn::IfThenElse(hn::IsNaN(l), l, hn::Log(d, hn::IfThenElse(none, hn::Set(d, 1.0f), l)));
      if constexpr (kEntropy) {
        const VF mean = hn::Mul(hn::Mul(hn::Load(d, x.e + lane), inverse), hn::Set(d, kLn2));
        hn::Store(hn::IfThenZeroElse(none, hn::Sub(log_l, mean)), d, x.e + lane);
      }
      const VF lse = hn::MulAdd(m, hn::Set(d, kLn2), log_l);
      hn::Store(hn::IfThenElse(none, hn::Set(d, -kInfinity), lse), d, x.m + lane);
      hn::Store(inverse, d, x.l + lane);
    }
    for (int64_t r = 0; r < tile.rows; r++) {
      narrow_row(x.o + r * width, x.l[r], tile.template at<T>(call.o, r), D);
      call.lse[tile.stat(r)] = x.m[r];
      if constexpr (kEntropy) call.entropy[tile.stat(r)] = x.e[r];
    }
  }
};

template <class S>
AttentionLoops forward_loops(DType dtype) {
#if ATTN_BFLOAT_DOT
  if (dtype == DType::bf16 && has_bfloat_dot()) {
    using Of = Forward<BFloat, BFloatDot, S>;
    return {kForwardKeys, Of::scratch, Of::run};
  }
#endif
  return with_float(dtype, [](auto t) -> AttentionLoops {
    using Of = Forward<decltype(t), FloatDot, S>;
    return {kForwardKeys, Of::scratch, Of::run};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
