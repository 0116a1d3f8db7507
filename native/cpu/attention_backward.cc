// The gradient of attention, in one pass over the pairs of a tile of queries and a tile of keys:
//
//   P = exp(S - lse)    dP = dO Vᵀ    dS = P (dP - delta), delta = rowsum(dO o)
//   dV += Pᵀ dO         dK += scale dSᵀ Q         dQ += scale dS K
//
// A task is a head of keys (its group of query heads one after the other) or a part of its keys. dK and dV of
// the task add up in float32 beside the caches; dQ of a tile of queries is finished before the next begins.
// Where keys are in parts, each writes its own dQ, and attention_join adds them: no atomics, and the same sum
// for any number of threads.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_backward.cc"
#include "attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "attention_score.h"
#include "attention_tile.h"
#include "exp2.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kBackwardKeys = 128;  // in a tile

template <class T, class Dot, class Score>
struct Backward {
  static constexpr int64_t kPer = Dot::kPer;
  static int64_t unit() { return lanes() * kPer; }  // of queries: whole words along them

  struct Scratch {
    float *k, *v, *k_right;  // keys and values to broadcast; keys in vectors along D
    float *dk, *dv;
    float *rows, *q_across, *g_across, *q_right, *g_right;  // g is dO
    float *s, *dp;                                          // scores, dO Vᵀ
    float *p_left, *ds_left, *ds_keys;  // P, dS as words along the queries; dS as words along the keys
    float *dq, *bias, *lse, *delta;
    Scratch(const AttentionProblem& p, int64_t keys, Bump& bump) {
      const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D), tile = kBackwardKeys * kQueries;
      k = bump.take(keys * words);
      v = bump.take(keys * words);
      k_right = kPer == 1 ? k : bump.take((keys + 1) / 2 * width);
      dk = bump.take(keys * width);
      dv = bump.take(keys * width);
      rows = bump.take(kQueries * words);
      q_across = bump.take(words * kQueries);
      g_across = bump.take(words * kQueries);
      q_right = bump.take(kQueries / kPer * width);
      g_right = bump.take(kQueries / kPer * width);
      s = bump.take(tile);
      dp = bump.take(tile);
      p_left = kPer == 1 ? s : bump.take(tile / kPer);
      ds_left = kPer == 1 ? dp : bump.take(tile / kPer);
      ds_keys = kPer == 1 ? dp : bump.take(tile / kPer);
      dq = bump.take(kQueries * width);
      bias = bump.take(bias_floats(p, kBackwardKeys));
      lse = bump.take(kQueries);
      delta = bump.take(kQueries);
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
    for (int64_t at = 0; at < p.rows(); at += kQueries)
      one_tile(call, QueryTile(p, task.b, task.kv_head, at, unit()), task.part, part, keys, x);
    for (int64_t j = part.begin; j < part.end; j++) {
      const int64_t at = (j - part.begin) * width, ahead = std::min(j + kAhead, p.Tk - 1);
      prefetch_row(row_of<const T>(call.dk, task.b, ahead, task.kv_head), p.D);
      prefetch_row(row_of<const T>(call.dv, task.b, ahead, task.kv_head), p.D);
      narrow_row(x.dk + at, std::abs(p.scale), row_of<T>(call.dk, task.b, j, task.kv_head), p.D);
      narrow_row(x.dv + at, 1, row_of<T>(call.dv, task.b, j, task.kv_head), p.D);
    }
  }

  static HWY_INLINE void narrow_row(const float* from, float factor, T* to, int64_t D) {
    const F32 d;
    const int64_t N = lanes();
    int64_t c = 0;
    for (; c + N <= D; c += N) store(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), to + c);
    if (c < D)
      store_n(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), to + c, static_cast<size_t>(D - c));
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
  };
  static Keys keys_of(const AttentionCall& call, const AttentionTask& task, Span part, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t words = head_words<Dot>(p.D), width = padded_head(p.D);
    if constexpr (std::is_same_v<T, float>)
      if (rows_serve<Dot, T>(p, (p.rows() + kQueries - 1) / kQueries)) {
        const float* const k = row_of<const T>(call.k, task.b, part.begin, task.kv_head);
        return {{k, call.k.row, 1},
                {row_of<const T>(call.v, task.b, part.begin, task.kv_head), call.v.row, 1},
                {k, call.k.row}};
      }
    for (int64_t j = part.begin; j < part.end; j++) {
      const int64_t at = (j - part.begin) * words, ahead = std::min(j + kAhead, p.Tk - 1);
      prefetch_row(row_of<const T>(call.k, task.b, ahead, task.kv_head), p.D);
      prefetch_row(row_of<const T>(call.v, task.b, ahead, task.kv_head), p.D);
      word_row<Dot>(row_of<const T>(call.k, task.b, j, task.kv_head), p.D, x.k + at, 1);
      word_row<Dot>(row_of<const T>(call.v, task.b, j, task.kv_head), p.D, x.v + at, 1);
    }
    if constexpr (kPer == 2) zip_words(x.k, part.size(), words, width, x.k_right);
    return {{x.k, words, 1}, {x.v, words, 1}, {x.k_right, width}};
  }

  // Rows of q or dO: across the lanes, and in vectors along D.
  static void pack_queries(const QueryTile& tile, const AttentionOperand& from, float sign, float* rows,
                           float* across, float* right) {
    const int64_t words = head_words<Dot>(tile.p.D);
    float* const to = kPer == 1 ? right : rows;
    for (int64_t r = 0; r < tile.rows; r++) {
      prefetch_row(tile.template at<const T>(from, std::min(r + kAhead, tile.rows - 1)), tile.p.D);
      word_row<Dot>(tile.template at<const T>(from, r), tile.p.D, to + r * words, sign);
    }
    std::fill(to + tile.rows * words, to + tile.lanes * words, 0.0f);
    transpose_words(to, words, tile.lanes, words, across, kQueries);
    if constexpr (kPer == 2) zip_words(rows, tile.lanes, words, padded_head(tile.p.D), right);
  }

  static void one_tile(const AttentionCall& call, const QueryTile& tile, int64_t part_number, Span part,
                       const Keys& all, const Scratch& x) {
    const AttentionProblem& p = *call.p;
    const int64_t width = padded_head(p.D), N = lanes();
    const Span seen{std::max(round_down(tile.keys.begin, kStep), part.begin),
                    std::min(tile.keys.end, part.end)};
    if (seen.size() > 0) {
      pack_queries(tile, call.q, p.scale < 0 ? -1.0f : 1.0f, x.rows, x.q_across, x.q_right);
      pack_queries(tile, call.dy, 1, x.rows, x.g_across, x.g_right);
      statistics(call, tile, x);
    }
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
        Score::tile(to_k, {x.q_across + r.begin, kQueries}, depth, x.s + corner, kQueries, some.size(),
                    r.size() / N);
        product<Dot>(to_v, {x.g_across + r.begin, kQueries}, depth, x.dp + corner, kQueries, some.size(),
                     r.size() / N, {Start::zero});
        gradients(tile, j, some, r, whole, bias, x);
        const int64_t word = k * kQueries / kPer + r.begin / kPer;
        product<Dot>({x.p_left + word, kQueries / kPer, 1}, {x.g_right + r.begin / kPer * width, width},
                     r.size() / kPer, x.dv + (at + k) * width, width, some.size(), width / N, {Start::add});
        Score::key_gradient({x.ds_left + word, kQueries / kPer, 1},
                            {x.q_right + r.begin / kPer * width, width}, r.size() / kPer,
                            x.dk + (at + k) * width, width, some.size(), width / N);
      }
      const Start start{fresh ? Start::zero : Start::add};
      const Right k_right = all.right.from(at / kPer, 0);
      const auto queries = [&](Span rows, Span some) {
        Score::query_gradient({x.ds_keys + some.begin / kPer * kQueries + rows.begin, 1, kQueries},
                              k_right.from(some.begin / kPer, 0), (some.size() + kPer - 1) / kPer,
                              x.dq + rows.begin * width, width, rows.size(), width / N, start);
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
    if (fresh) std::fill(x.dq, x.dq + tile.rows * width, 0.0f);
    for (int64_t r = 0; r < tile.rows; r++) {
      if (!call.partial) {
        narrow_row(x.dq + r * width, p.scale, tile.template at<T>(call.dq, r), p.D);
        continue;
      }
      const int64_t row = ((part_number * p.B + tile.b) * p.Hkv + tile.kv_head) * p.rows() + tile.first + r;
      std::copy_n(x.dq + r * width, width, call.partial + row * width);
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

  // P and dS of keys `some` of the tile, in the forms that the products want; dS is 0 where no row sees a
  // key.
  static HWY_INLINE void gradients(const QueryTile& tile, int64_t j, Span some, Span r, bool whole,
                                   const Bias& bias, const Scratch& x) {
    const F32 d;
    const int64_t N = lanes();
    const VF factor = hn::Set(d, std::abs(tile.p.scale) * kLog2E);
    struct Pair {
      VF p, ds;
    };
    const auto at = [&](int64_t k, int64_t lane, VF lse, VF delta) HWY_ATTR {
      const int64_t place = k * kQueries + lane;
      VF y = hn::MulSub(hn::Load(d, x.s + place), factor, lse);
      if (bias.kind != Bias::none) y = hn::Add(y, bias.load(k, lane));
      if (!whole) y = hide(y, j + k, tile, lane);
      const VF p = exp2_below_127(hn::Min(hn::Set(d, 127.0f), y));
      return Pair{p, hn::Mul(p, hn::Sub(hn::Load(d, x.dp + place), delta))};
    };
    if constexpr (kPer == 1) {
      for (int64_t lane = r.begin; lane < r.end; lane += N) {
        const VF lse = hn::Load(d, x.lse + lane), delta = hn::Load(d, x.delta + lane);
        for (int64_t k = some.begin; k < some.end; k++) {
          const Pair z = at(k, lane, lse, delta);
          hn::Store(z.p, d, x.s + k * kQueries + lane);
          hn::Store(z.ds, d, x.dp + k * kQueries + lane);
        }
      }
    }
#if ATTN_BFLOAT_DOT
    else {
      for (int64_t lane = r.begin; lane < r.end; lane += 2 * N) {
        const VF lse0 = hn::Load(d, x.lse + lane), delta0 = hn::Load(d, x.delta + lane);
        const VF lse1 = hn::Load(d, x.lse + lane + N), delta1 = hn::Load(d, x.delta + lane + N);
        for (int64_t k = some.begin; k < some.end; k += 2) {
          const Pair a0 = at(k, lane, lse0, delta0), a1 = at(k, lane + N, lse1, delta1);
          Pair b0{hn::Zero(d), hn::Zero(d)}, b1 = b0;
          const int64_t word = (k * kQueries + lane) / 2;
          hn::Store(Dot::narrow(a0.p, a1.p), d, x.p_left + word);
          hn::Store(Dot::narrow(a0.ds, a1.ds), d, x.ds_left + word);
          if (k + 1 < some.end) {
            b0 = at(k + 1, lane, lse0, delta0), b1 = at(k + 1, lane + N, lse1, delta1);
            hn::Store(Dot::narrow(b0.p, b1.p), d, x.p_left + word + kQueries / 2);
            hn::Store(Dot::narrow(b0.ds, b1.ds), d, x.ds_left + word + kQueries / 2);
          }
          float* const to = x.ds_keys + k / 2 * kQueries + lane;
          hn::Store(Dot::zip(a0.ds, b0.ds), d, to);
          hn::Store(Dot::zip(a1.ds, b1.ds), d, to + N);
        }
      }
    }
#endif
    for (int64_t k = some.begin / kPer; k < (some.end + kPer - 1) / kPer; k++)
      for (int64_t lane = 0; lane < tile.lanes; lane += N)
        if (lane < r.begin || lane >= r.end) hn::Store(hn::Zero(d), d, x.ds_keys + k * kQueries + lane);
  }
};

template <class T>
void join_parts(const AttentionCall& call, int64_t parts, int64_t first, int64_t last) {
  const AttentionProblem& p = *call.p;
  const F32 d;
  const int64_t N = lanes(), width = padded_head(p.D), all = p.B * p.Hkv * p.rows();
  HWY_ALIGN float sum[256];
  for (int64_t row = first; row < last; row++) {
    for (int64_t c = 0; c < width; c += N) {
      VF y = hn::LoadU(d, call.partial + row * width + c);
      for (int64_t part = 1; part < parts; part++)
        y = hn::Add(y, hn::LoadU(d, call.partial + (part * all + row) * width + c));
      hn::Store(y, d, sum + c);
    }
    const int64_t head = row / p.rows(), r = row % p.rows(), group = p.group;
    T* to = row_of<T>(call.dq, head / p.Hkv, r / group, head % p.Hkv * group + r % group);
    Backward<T, FloatDot, DotScore<FloatDot>>::narrow_row(sum, p.scale, to, p.D);
  }
}

template <class T, class Dot>
AttentionLoops backward_loops() {
  using Of = Backward<T, Dot, DotScore<Dot>>;
  return {kBackwardKeys, Of::scratch, Of::run};
}

AttentionLoops ChooseBackward(DType dtype) {
#if ATTN_BFLOAT_DOT
  if (dtype == DType::bf16 && has_bfloat_dot()) return backward_loops<BFloat, BFloatDot>();
#endif
  return with_float(dtype, [](auto t) { return backward_loops<decltype(t), FloatDot>(); });
}
AttentionJoin ChooseBackwardJoin(DType dtype) {
  return with_float(dtype, [](auto t) -> AttentionJoin { return join_parts<decltype(t)>; });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseBackward);
HWY_EXPORT(ChooseBackwardJoin);
AttentionLoops attention_backward(const AttentionProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseBackward)(p.dtype);
}
AttentionJoin attention_join(DType dtype) { return HWY_DYNAMIC_DISPATCH(ChooseBackwardJoin)(dtype); }
}  // namespace attn::cpu
#endif
