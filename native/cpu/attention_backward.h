// The gradient of attention, in one pass over the pairs of a tile of queries and a tile of keys:
//
//   P = exp(S - lse)    dP = dO Vᵀ    dS = P (dP - delta), delta = rowsum(dO o)
//   dV += Pᵀ dO         dK += scale dSᵀ Q         dQ += scale dS K
//
// A task is a head of keys (its group of query heads one after the other) or a part of its keys. dK and dV of
// the task add up in float32 beside the caches; dQ of a tile of queries is finished before the next begins.
// Where keys are in parts, each writes its own dQ, and attention_join adds them: no atomics, and the same sum
// for any number of threads.
#if defined(ATTN_CPU_ATTENTION_BACKWARD) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_BACKWARD
#undef ATTN_CPU_ATTENTION_BACKWARD
#else
#define ATTN_CPU_ATTENTION_BACKWARD
#endif

#include <algorithm>
#include <type_traits>

#include "attention_score.h"
#include "attention_tile.h"
#include "exp2.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kBackwardKeys = 128;  // in a tile

template <class T, class Dot, class S>
struct Backward {
  static constexpr int64_t kPer = Dot::kPer;
  static constexpr int kVectors = S::kVectors;
  static constexpr bool kSided = S::kQueryFields > 0;
  static constexpr int64_t kTile = kBackwardKeys * kQueries;  // scores
  static int64_t unit() { return lanes() * kPer; }            // of queries: whole words along them

  struct Scratch {
    float *k, *v, *k_right;  // keys and values to broadcast; keys in vectors along D
    float *dk, *dv;
    float *rows, *q_across, *g_across, *q_right, *g_right;  // g is dO; of q each vector
    float *s, *dp;                                          // products of each vector, dO Vᵀ
    // P, the gradients of the products as words along the queries; the same as words along the keys
    float *p_left, *ds_left[kVectors], *ds_keys[kVectors];
    float *dq, *bias, *lse, *delta;  // dq of each vector
    // Numbers beside keys and queries; gradients of the sides, those of keys in lanes yet to be summed.
    float *k_fields, *q_fields, *dk_side, *dq_sides;
    Scratch(const AttentionProblem& p, int64_t keys, Bump& bump) {
      const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D);
      k = bump.take(keys * words);
      v = bump.take(keys * words);
      k_right = kPer == 1 ? k : bump.take((keys + 1) / 2 * width);
      dk = bump.take(keys * width);
      dv = bump.take(keys * width);
      rows = bump.take(kQueries * words);
      q_across = bump.take(kVectors * words * kQueries);
      g_across = bump.take(words * kQueries);
      q_right = bump.take(kVectors * kQueries / kPer * width);
      g_right = bump.take(kQueries / kPer * width);
      s = bump.take(kVectors * kTile);
      dp = bump.take(kTile);
      p_left = kPer == 1 ? s : bump.take(kTile / kPer);
      for (int n = 0; n < kVectors; n++) {
        // Where words are floats: in place of dO Vᵀ, and of the products of the second vector.
        float* const place = n == 0 ? dp : s + n * kTile;
        ds_left[n] = kPer == 1 ? place : bump.take(kTile / kPer);
        ds_keys[n] = kPer == 1 ? place : bump.take(kTile / kPer);
      }
      dq = bump.take(kVectors * kQueries * width);
      bias = bump.take(bias_floats(p, kBackwardKeys));
      lse = bump.take(kQueries);
      delta = bump.take(kQueries);
      k_fields = bump.take(S::kKeyFields * round_up(keys, kStep));
      q_fields = bump.take(S::kQueryFields * kQueries);
      dk_side = bump.take(kSided ? keys * lanes() : 0);
      dq_sides = bump.take(kSided ? 2 * kQueries : 0);
    }
  };

  static size_t scratch(const AttentionProblem& p, int64_t keys) {
    Bump bump(nullptr);
    Scratch(p, keys, bump);
    return bump.used();
  }

  static void run(const AttentionCall& call, const AttentionTask& task, float* memory) {
    const AttentionProblem& p = *call.p;
    const Span part{task.first * kBackwardKeys, std::min(task.last * kBackwardKeys, p.Tk)};
    Bump bump(memory);
    const Scratch x(p, part.size(), bump);
    const Keys keys = keys_of(call, task, part, x);
    const int64_t width = padded_head(p.D);
    std::fill(x.dk, x.dk + part.size() * width, 0.0f);
    std::fill(x.dv, x.dv + part.size() * width, 0.0f);
    if constexpr (kSided) std::fill(x.dk_side, x.dk_side + part.size() * lanes(), 0.0f);
    for (int64_t at = 0; at < p.rows(); at += kQueries)
      one_tile(call, QueryTile(p, task.b, task.kv_head, at, unit()), task.part, part, keys, x);
    for (int64_t j = part.begin; j < part.end; j++) {
      const int64_t at = (j - part.begin) * width, ahead = std::min(j + kAhead, p.Tk - 1);
      prefetch_row(row_of<const T>(call.dk, task.b, ahead, task.kv_head), p.D);
      prefetch_row(row_of<const T>(call.dv, task.b, ahead, task.kv_head), p.D);
      narrow_row(x.dk + at, S::kLinear ? std::abs(p.scale) : 1, row_of<T>(call.dk, task.b, j, task.kv_head),
                 p.D);
      narrow_row(x.dv + at, 1, row_of<T>(call.dv, task.b, j, task.kv_head), p.D);
      if constexpr (kSided)
        call.dsides[task.b * p.sides.batch + p.sides.keys + j * p.Hkv + task.kv_head] =
            hn::GetLane(hn::SumOfLanes(F32(), load(x.dk_side + (j - part.begin) * lanes())));
    }
  }

 private:
  // Zips rows of words along D into words along the rows, for the vector side of a product.
  static void zip_words(const float* rows, int64_t count, int64_t words, int64_t width, float* to) {
    alignas(64) static constexpr uint16_t kZeros[256 + 32] = {};
    for (int64_t r = 0; r < count; r += 2) {
      const auto* low = reinterpret_cast<const uint16_t*>(rows + r * words);
      const auto* high = r + 1 < count ? reinterpret_cast<const uint16_t*>(rows + (r + 1) * words) : kZeros;
      zip_rows(low, high, width, to + r / 2 * width);
    }
  }

  // Keys and values to broadcast, keys in vectors along D, from the part's first key on.
  struct Keys {
    Left k, v;
    Right right;
    KeyFields fields;
  };
  static Keys keys_of(const AttentionCall& call, const AttentionTask& task, Span part, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D);
    const KeyFields fields = key_fields<S>(call, task.b, task.kv_head, part, x.k_fields);
    if constexpr (std::is_same_v<T, float>)
      if (rows_serve<Dot, T>(p, (p.rows() + kQueries - 1) / kQueries)) {
        const float* const k = row_of<const T>(call.k, task.b, part.begin, task.kv_head);
        return {{k, call.k.row, 1},
                {row_of<const T>(call.v, task.b, part.begin, task.kv_head), call.v.row, 1},
                {k, call.k.row},
                fields};
      }
    for (int64_t j = part.begin; j < part.end; j++) {
      const int64_t at = (j - part.begin) * words, ahead = std::min(j + kAhead, p.Tk - 1);
      prefetch_row(row_of<const T>(call.k, task.b, ahead, task.kv_head), p.D);
      prefetch_row(row_of<const T>(call.v, task.b, ahead, task.kv_head), p.D);
      word_row<Dot>(row_of<const T>(call.k, task.b, j, task.kv_head), p.D, x.k + at, 1);
      word_row<Dot>(row_of<const T>(call.v, task.b, j, task.kv_head), p.D, x.v + at, 1);
    }
    if constexpr (kPer == 2) zip_words(x.k, part.size(), words, width, x.k_right);
    return {{x.k, words, 1}, {x.v, words, 1}, {x.k_right, width}, fields};
  }

  // Rows of a vector of q, or of dO: across the lanes, and in vectors along D.
  static void pack_queries(const QueryTile& tile, const AttentionOperand& from, int64_t offset, float sign,
                           float* rows, float* across, float* right) {
    const int64_t words = head_words<Dot>(tile.p.D);
    float* const to = kPer == 1 ? right : rows;
    for (int64_t r = 0; r < tile.rows; r++) {
      prefetch_row(tile.template at<const T>(from, std::min(r + kAhead, tile.rows - 1)) + offset, tile.p.D);
      word_row<Dot>(tile.template at<const T>(from, r) + offset, tile.p.D, to + r * words, sign);
    }
    std::fill(to + tile.rows * words, to + tile.lanes * words, 0.0f);
    transpose_words(to, words, tile.lanes, words, across, kQueries);
    if constexpr (kPer == 2) zip_words(rows, tile.lanes, words, padded_head(tile.p.D), right);
  }

  static void one_tile(const AttentionCall& call, const QueryTile& tile, int64_t part_number, Span part,
                       const Keys& all, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t width = padded_head(p.D), N = lanes();
    const int64_t across = head_words<Dot>(p.D) * kQueries, right = kQueries / kPer * width;
    const Span seen{std::max(round_down(tile.keys.begin, kStep), part.begin),
                    std::min(tile.keys.end, part.end)};
    if (seen.size() > 0) {
      const float sign = S::kLinear && p.scale < 0 ? -1.0f : 1.0f;
      for (int n = 0; n < kVectors; n++)
        pack_queries(tile, call.q, n * p.D, sign, x.rows, x.q_across + n * across, x.q_right + n * right);
      pack_queries(tile, call.dy, 0, 1, x.rows, x.g_across, x.g_right);
      statistics(call, tile, x);
      query_fields<S>(call, tile, x.q_fields);
    }
    if constexpr (kSided) std::fill(x.dq_sides, x.dq_sides + 2 * kQueries, 0.0f);
    bool fresh = true;
    for (int64_t j = seen.begin; j < seen.end; j += kBackwardKeys) {
      const Span keys{j, std::min(j + kBackwardKeys, seen.end)};
      const int64_t at = j - part.begin, depth = (p.D + kPer - 1) / kPer;
      const bool whole = tile.sees_all(keys);
      const Bias bias = bias_of(tile, call.mask, keys, x.bias);
      const int64_t step = whole ? keys.size() : kStep;
      for (int64_t k = 0; k < keys.size(); k += step) {
        const Span some{k, std::min(k + step, keys.size())};
        const Span r = whole ? Span{0, tile.lanes} : tile.seeing({j + some.begin, j + some.end}, unit());
        const Left to_k = all.k.from(at + k, 0), to_v = all.v.from(at + k, 0);
        const int64_t corner = k * kQueries + r.begin;
        for (int n = 0; n < kVectors; n++)
          product<Dot>(to_k, {x.q_across + n * across + r.begin, kQueries}, depth, x.s + n * kTile + corner,
                       kQueries, some.size(), r.size() / N, {Start::zero});
        product<Dot>(to_v, {x.g_across + r.begin, kQueries}, depth, x.dp + corner, kQueries, some.size(),
                     r.size() / N, {Start::zero});
        if (whole && !bias.any)
          gradients<true>(tile, j, some, r, whole, bias, all.fields.from(at), x.dk_side + at * N, x);
        else
          gradients<false>(tile, j, some, r, whole, bias, all.fields.from(at), x.dk_side + at * N, x);
        const int64_t word = k * kQueries / kPer + r.begin / kPer;
        product<Dot>({x.p_left + word, kQueries / kPer, 1}, {x.g_right + r.begin / kPer * width, width},
                     r.size() / kPer, x.dv + (at + k) * width, width, some.size(), width / N, {Start::add});
        for (int n = 0; n < kVectors; n++)
          product<Dot>({x.ds_left[n] + word, kQueries / kPer, 1},
                       {x.q_right + n * right + r.begin / kPer * width, width}, r.size() / kPer,
                       x.dk + (at + k) * width, width, some.size(), width / N, {Start::add});
      }
      const Start start{fresh ? Start::zero : Start::add};
      const Right k_right = all.right.from(at / kPer, 0);
      const auto queries = [&](Span rows, Span some) {
        for (int n = 0; n < kVectors; n++)
          product<Dot>({x.ds_keys[n] + some.begin / kPer * kQueries + rows.begin, 1, kQueries},
                       k_right.from(some.begin / kPer, 0), (some.size() + kPer - 1) / kPer,
                       x.dq + (n * kQueries + rows.begin) * width, width, rows.size(), width / N, start);
      };
      if (whole) {
        queries({0, tile.rows}, {0, keys.size()});
      } else {
        for (int64_t r = 0; r < tile.rows; r += kStep) {
          const Span rows{r, std::min(r + kStep, tile.rows)};
          const int64_t from = std::clamp<int64_t>(tile.low[r] - j, 0, keys.size());
          queries(rows, {round_down(from, kStep),
                         std::clamp<int64_t>(tile.high[rows.end - 1] - j, from, keys.size())});
        }
      }
      fresh = false;
    }
    if (fresh) std::fill(x.dq, x.dq + kVectors * kQueries * width, 0.0f);
    for (int64_t r = 0; r < tile.rows; r++) {
      const int64_t row = ((part_number * p.B + tile.b) * p.Hkv + tile.kv_head) * p.rows() + tile.first + r;
      for (int n = 0; n < kVectors; n++) {
        const float* const from = x.dq + (n * kQueries + r) * width;
        if (call.partial)
          std::copy_n(from, width, call.partial + row * p.partial_row() + n * width);
        else
          narrow_row(from, S::kLinear ? p.scale : 1, tile.template at<T>(call.dq, r) + n * p.D, p.D);
      }
      if constexpr (kSided) {
        float* const to = call.partial ? call.partial + row * p.partial_row() + kVectors * width
                                       : call.dsides + tile.side(r);
        to[0] = x.dq_sides[r], to[1] = x.dq_sides[kQueries + r];
      }
    }
  }

  // lse in units of log2, +inf where a row saw no key (so that its weights are 0), and delta.
  static void statistics(const AttentionCall& call, const QueryTile& tile, const Scratch& x) {
    const F32 d;
    const int64_t N = lanes(), D = tile.p.D;
    for (int64_t r = 0; r < kQueries; r++) x.lse[r] = kInfinity, x.delta[r] = 0;
    for (int64_t r = 0; r < tile.rows; r++) {
      const float lse = call.lse[tile.stat(r)];
      if (lse == -kInfinity) continue;
      x.lse[r] = lse * kLog2E;
      const T *g = tile.template at<const T>(call.dy, r), *o = tile.template at<const T>(call.o, r);
      prefetch_row(tile.template at<const T>(call.o, std::min(r + kAhead, tile.rows - 1)), D);
      if (!call.partial) prefetch_row(tile.template at<const T>(call.dq, r), D);
      VF sum = hn::Zero(d);
      int64_t c = 0;
      for (; c + N <= D; c += N) sum = hn::MulAdd(load(g + c), load(o + c), sum);
      if (c < D) {
        const auto rest = static_cast<size_t>(D - c);
        sum = hn::MulAdd(load_n(g + c, rest), load_n(o + c, rest), sum);
      }
      x.delta[r] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }

  // Of N queries: what their rows of P and of the gradients of the products are made with.
  struct Lanes {
    int64_t at;
    typename S::Queries queries;
    VF lse, delta, sides[2];
    Lanes(const AttentionProblem& p, const Scratch& x, int64_t lane)
        : at(lane),
          queries(x.q_fields + lane, kQueries, p.scale),
          lse(load(x.lse + lane)),
          delta(load(x.delta + lane)) {
      for (int n = 0; kSided && n < 2; n++) sides[n] = load(x.dq_sides + n * kQueries + lane);
    }
    HWY_INLINE void keep(const Scratch& x) const {
      for (int n = 0; kSided && n < 2; n++) store(sides[n], x.dq_sides + n * kQueries + at);
    }
  };
  // P, and the gradient of the products of each vector.
  struct Pair {
    VF p, ds[kVectors];
  };

  // P and dS of keys `some` of the tile, in the forms that the products want; dS is 0 where no row sees a
  // key. Sides get theirs on the way: `key_sides` are those of the tile's first key on.
  template <bool kPlain>
  static HWY_INLINE void gradients(const QueryTile& tile, int64_t j, Span some, Span r, bool whole,
                                   const Bias& bias, KeyFields fields, float* key_sides, const Scratch& x) {
    const F32 d;
    const int64_t N = lanes();
    // Stores might change what lies in memory.
    const float *const s = x.s, *const dp = x.dp;
    float* const p_left = x.p_left;
    float *ds_left[kVectors], *ds_keys[kVectors];
    for (int n = 0; n < kVectors; n++) ds_left[n] = x.ds_left[n], ds_keys[n] = x.ds_keys[n];
    const auto at = [&](int64_t k, Lanes& of) HWY_ATTR {
      const int64_t lane = of.at, place = k * kQueries + lane;
      VF products[kVectors], y;
      for (int n = 0; n < kVectors; n++) products[n] = hn::Load(d, s + n * kTile + place);
      [[maybe_unused]] Slopes<kVectors> slopes;
      if constexpr (S::kLinear) {
        y = hn::MulSub(products[0], of.queries.factor, of.lse);
      } else {
        slopes = S::slopes(of.queries, fields, k, products);
        y = hn::Sub(slopes.y, of.lse);
      }
      if constexpr (!kPlain) {
        if (bias.any) y = bias.add(y, k, lane);
        if (!whole) y = hide(y, j + k, tile, lane);
      }
      Pair z;
      z.p = exp2_below_127(hn::Min(hn::Set(d, 127.0f), y));
      const VF ds = hn::Mul(z.p, hn::Sub(hn::Load(d, dp + place), of.delta));
      if constexpr (S::kLinear)
        z.ds[0] = ds;
      else
        for (int n = 0; n < kVectors; n++) z.ds[n] = hn::Mul(ds, slopes.x[n]);
      if constexpr (kSided) {
        for (int n = 0; n < 2; n++) of.sides[n] = hn::MulAdd(ds, slopes.query[n], of.sides[n]);
        float* const sum = key_sides + k * N;
        store(hn::MulAdd(ds, slopes.key, load(sum)), sum);
      }
      return z;
    };
    if constexpr (kPer == 1) {
      for (int64_t lane = r.begin; lane < r.end; lane += N) {
        Lanes of(tile.p, x, lane);
        for (int64_t k = some.begin; k < some.end; k++) {
          const Pair z = at(k, of);
          hn::Store(z.p, d, p_left + k * kQueries + lane);
          for (int n = 0; n < kVectors; n++) hn::Store(z.ds[n], d, ds_left[n] + k * kQueries + lane);
        }
        of.keep(x);
      }
    }
#if ATTN_BFLOAT_DOT
    else {
      for (int64_t lane = r.begin; lane < r.end; lane += 2 * N) {
        Lanes low(tile.p, x, lane), high(tile.p, x, lane + N);
        for (int64_t k = some.begin; k < some.end; k += 2) {
          const int64_t word = (k * kQueries + lane) / 2;
          const auto keep = [&](const Pair& a, const Pair& b, int64_t to) HWY_ATTR {
            hn::Store(Dot::narrow(a.p, b.p), d, p_left + to);
            for (int n = 0; n < kVectors; n++) hn::Store(Dot::narrow(a.ds[n], b.ds[n]), d, ds_left[n] + to);
          };
          const Pair a0 = at(k, low), a1 = at(k, high);
          Pair b0, b1;
          for (int n = 0; n < kVectors; n++) b0.ds[n] = b1.ds[n] = hn::Zero(d);
          keep(a0, a1, word);
          if (k + 1 < some.end) {
            b0 = at(k + 1, low), b1 = at(k + 1, high);
            keep(b0, b1, word + kQueries / 2);
          }
          for (int n = 0; n < kVectors; n++) {
            float* const to = ds_keys[n] + k / 2 * kQueries + lane;
            hn::Store(Dot::zip(a0.ds[n], b0.ds[n]), d, to);
            hn::Store(Dot::zip(a1.ds[n], b1.ds[n]), d, to + N);
          }
        }
        low.keep(x), high.keep(x);
      }
    }
#endif
    for (int n = 0; n < kVectors; n++)
      for (int64_t k = some.begin / kPer; k < (some.end + kPer - 1) / kPer; k++)
        for (int64_t lane = 0; lane < tile.lanes; lane += N)
          if (lane < r.begin || lane >= r.end) hn::Store(hn::Zero(d), d, ds_keys[n] + k * kQueries + lane);
  }
};

template <class S>
AttentionLoops backward_loops(DType dtype) {
#if ATTN_BFLOAT_DOT
  if (dtype == DType::bf16 && has_bfloat_dot()) {
    using Of = Backward<BFloat, BFloatDot, S>;
    return {kBackwardKeys, Of::scratch, Of::run};
  }
#endif
  return with_float(dtype, [](auto t) -> AttentionLoops {
    using Of = Backward<decltype(t), FloatDot, S>;
    return {kBackwardKeys, Of::scratch, Of::run};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
