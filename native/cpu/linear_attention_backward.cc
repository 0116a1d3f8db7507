// The gradient of linear attention, in two sweeps. With D_t the gradient of S_t by all that comes after t,
//
//   dq_t = S_t do_t        dk_t = (D_t + q_t do_tᵀ) v_t        dv_t = (D_t + q_t do_tᵀ)ᵀ k_t
//   D_{t-1} = diag(exp(decay_t)) (D_t + q_t do_tᵀ)
//
// The first sweep goes forward with the states, which are made again, and gives dq; the second goes backward
// with their gradients and gives dk and dv. Both carry [Dk, Dv], whatever T is. The gradient of the decays is
// a running sum from the end,
//
//   ddecay_t = q_t dq_t - k_t dk_t + ddecay_{t+1},    ddecay_{T+1} = rowsum(D_T S_T)
//
// begun anew every kRenew tokens, where the first sweep has kept the state: rounding does not add up.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_attention_backward.cc"
#include "linear_attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "linear_attention_chunk.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kRenew = 16 * kChunk;

template <class T, bool kDecay>
struct LinearBackwardOf {
  struct Scratch {
    float *q, *k, *v, *g, *a, *decayed, *all, *across, *turned, *weights, *scores, *dk, *dv, *sum, *rows;
    float *state, *dstate, *kept;
    Scratch(const LinearProblem& p, int64_t tokens, Bump& bump) {
      const int64_t wk = padded_head(p.Dk), wv = padded_head(p.Dv);
      q = bump.take(kChunk * wk);
      k = bump.take(kChunk * wk);
      v = bump.take(kChunk * wv);
      g = bump.take(kChunk * wv);  // do
      a = bump.take(kDecay ? kChunk * wk : 0);
      decayed = bump.take(kDecay ? kChunk * wk : 0);
      all = kDecay ? bump.take(wk) : nullptr;
      across = bump.take(std::max(wk, wv) * kChunk);
      turned = bump.take(wk * kChunk);
      weights = bump.take(kChunk * kChunk);
      scores = bump.take(kChunk * kChunk);
      dk = bump.take(kChunk * wk);  // or dq
      dv = bump.take(kChunk * wv);
      sum = bump.take(wk);
      rows = bump.take(kDecay ? kChunk * wk : 0);
      state = bump.take(p.Dk * wv);
      dstate = bump.take(p.Dk * wv);
      kept = bump.take(kDecay ? tokens / kRenew * p.Dk * wv : 0);
    }
  };
  static size_t scratch(const LinearProblem& p, int64_t tokens) {
    Bump bump(nullptr);
    Scratch(p, tokens, bump);
    return bump.used();
  }

  struct Operands {
    HeadRows<const T> q, k, v, g;
    HeadRows<const float> decay;
    HeadRows<T> dq, dk, dv;
    HeadRows<float> ddecay;
    Operands(const LinearCall& call, int64_t head)
        : q(call.q, *call.p, head, call.p->Dk),
          k(call.k, *call.p, head, call.p->Dk),
          v(call.v, *call.p, head, call.p->Dv),
          g(call.dy, *call.p, head, call.p->Dv),
          decay(call.decay, *call.p, head, call.p->Dk),
          dq(call.dq, *call.p, head, call.p->Dk),
          dk(call.dk, *call.p, head, call.p->Dk),
          dv(call.dv, *call.p, head, call.p->Dv),
          ddecay(call.ddecay, *call.p, head, call.p->Dk) {}
  };

  static void run(const LinearCall& call, const LinearSpan& span, LinearState before, LinearState dafter,
                  LinearState end, float* memory) {
    const LinearProblem& p = *call.p;
    Bump bump(memory);
    const Scratch x(p, span.last - span.first, bump);
    const Operands rows_of(call, span.head);
    const int64_t states = p.Dk * padded_head(p.Dv);
    load_state(p, before, x.state);
    load_state(p, dafter, x.dstate);
    for (int64_t t = span.first; t < span.last; t += kChunk) {
      const int64_t done = t - span.first;
      if (kDecay && done > 0 && done % kRenew == 0)
        std::copy_n(x.state, states, x.kept + (done / kRenew - 1) * states);
      query_chunk(p, rows_of, t, std::min(kChunk, span.last - t), x);
    }
    if (kDecay) row_sums(p, x.dstate, x.state, x.sum);
    for (int64_t t = span.first + (span.last - span.first - 1) / kChunk * kChunk; t >= span.first;
         t -= kChunk) {
      const int64_t end_of = t + kChunk - span.first;
      if (kDecay && t + kChunk < span.last && end_of % kRenew == 0)
        row_sums(p, x.dstate, x.kept + (end_of / kRenew - 1) * states, x.sum);
      key_chunk(p, rows_of, t, std::min(kChunk, span.last - t), x);
    }
    save_state(p, x.dstate, end);
  }

  static void retreat(const LinearCall& call, const LinearSpan& span, LinearState end, float* memory) {
    const LinearProblem& p = *call.p;
    Bump bump(memory);
    const Scratch x(p, 0, bump);
    const Operands rows_of(call, span.head);
    load_state(p, {nullptr, 0}, x.dstate);
    for (int64_t t = span.first + (span.last - span.first - 1) / kChunk * kChunk; t >= span.first;
         t -= kChunk) {
      const int64_t rows = std::min(kChunk, span.last - t);
      rows_of.q.load(t, rows, x.q, -kChunk);
      rows_of.g.load(t, rows, x.g, -kChunk);
      if (kDecay) load_decays(rows_of.decay, t, rows, x.a, -kChunk);
      add_queries(p, rows, x);
    }
    save_state(p, x.dstate, end);
  }

 private:
  static void load(const Operands& from, int64_t t, int64_t rows, int64_t ahead, const Scratch& x) {
    from.q.load(t, rows, x.q, ahead);
    from.k.load(t, rows, x.k, ahead);
    from.v.load(t, rows, x.v, ahead);
    from.g.load(t, rows, x.g, ahead);
    if (kDecay) load_decays(from.decay, t, rows, x.a, ahead);
  }

  // Forward: dq of a chunk, and the state after it.
  static void query_chunk(const LinearProblem& p, const Operands& rows_of, int64_t t, int64_t rows,
                          const Scratch& x) {
    const int64_t N = lanes(), wk = padded_head(p.Dk), wv = padded_head(p.Dv);
    load(rows_of, t, rows, kChunk, x);
    // S do of each token, tokens along the lanes; weights[s][t] = v_s do_t.
    transpose_words(x.g, wv, kChunk, wv, x.across, kChunk);
    product<FloatDot>({x.state, wv, 1}, {x.across, kChunk}, p.Dv, x.turned, kChunk, p.Dk, kChunk / N,
                      {Start::zero});
    transpose_words(x.turned, kChunk, wk, kChunk, x.dk, wk);
    product<FloatDot>({x.v, wv, 1}, {x.across, kChunk}, p.Dv, x.weights, kChunk, rows, kChunk / N,
                      {Start::zero});
    if constexpr (kDecay) {
      add_lower_decayed(x.weights, 1, kChunk, x.k, x.a, rows, wk, x.dk);
      // q dq waits in the place of ddecay for the second sweep.
      multiply(x.q, x.dk, rows * wk, x.rows);
      rows_of.ddecay.save(t, rows, x.rows);
      decay_rows<true>(x.k, x.a, rows, wk, x.decayed, x.all);
    } else {
      add_lower(x.weights, 1, kChunk, x.k, rows, wk, x.dk);
    }
    rows_of.dq.save(t, rows, x.dk);
    add_to_state(p, kDecay ? x.decayed : x.k, x.v, rows, x.all, x.state);
  }

  // Backward: dk, dv and ddecay of a chunk, and the gradient of the state before it.
  static void key_chunk(const LinearProblem& p, const Operands& rows_of, int64_t t, int64_t rows,
                        const Scratch& x) {
    const int64_t N = lanes(), wk = padded_head(p.Dk), wv = padded_head(p.Dv);
    load(rows_of, t, rows, -kChunk, x);
    // D v of each token, tokens along the lanes; weights[t][s] = do_t v_s.
    transpose_words(x.v, wv, kChunk, wv, x.across, kChunk);
    product<FloatDot>({x.dstate, wv, 1}, {x.across, kChunk}, p.Dv, x.turned, kChunk, p.Dk, kChunk / N,
                      {Start::zero});
    transpose_words(x.turned, kChunk, wk, kChunk, x.dk, wk);
    product<FloatDot>({x.g, wv, 1}, {x.across, kChunk}, p.Dv, x.weights, kChunk, rows, kChunk / N,
                      {Start::zero});
    if constexpr (kDecay) {
      add_upper_decayed(x.weights, 1, kChunk, x.q, x.a, rows, wk, x.dk);
      decayed_scores(x.q, x.k, x.a, rows, wk, x.scores);
      decay_rows<true>(x.k, x.a, rows, wk, x.decayed, x.all);
    } else {
      add_upper(x.weights, 1, kChunk, x.q, rows, wk, x.dk);
      transpose_words(x.k, wk, kChunk, wk, x.across, kChunk);
      product<FloatDot>({x.q, wk, 1}, {x.across, kChunk}, p.Dk, x.scores, kChunk, rows, kChunk / N,
                        {Start::zero});
    }
    product<FloatDot>({kDecay ? x.decayed : x.k, wk, 1}, {x.dstate, wv}, p.Dk, x.dv, wv, rows, wv / N,
                      {Start::zero});
    add_upper(x.scores, 1, kChunk, x.g, rows, wv, x.dv);
    rows_of.dk.save(t, rows, x.dk);
    rows_of.dv.save(t, rows, x.dv);
    if constexpr (kDecay) decay_gradient(rows_of, t, rows, wk, x);
    add_queries(p, rows, x);
  }

  // D = diag(all) D + sum of (q decayed since the chunk began) doᵀ.
  static void add_queries(const LinearProblem& p, int64_t rows, const Scratch& x) {
    if (kDecay) decay_rows<false>(x.q, x.a, rows, padded_head(p.Dk), x.decayed, x.all);
    add_to_state(p, kDecay ? x.decayed : x.q, x.g, rows, x.all, x.dstate);
  }

  // ddecay holds q dq; the sum over the rows from the last one on takes the place of it.
  static void decay_gradient(const Operands& rows_of, int64_t t, int64_t rows, int64_t wk, const Scratch& x) {
    const F32 d;
    rows_of.ddecay.load(t, rows, x.rows, -kChunk);
    for (int64_t c = 0; c < wk; c += lanes()) {
      VF sum = hn::LoadU(d, x.sum + c);
      for (int64_t at = (rows - 1) * wk + c; at >= 0; at -= wk) {
        const VF own =
            hn::NegMulAdd(hn::LoadU(d, x.k + at), hn::LoadU(d, x.dk + at), hn::LoadU(d, x.rows + at));
        sum = hn::Add(sum, own);
        hn::StoreU(sum, d, x.rows + at);
      }
      hn::StoreU(sum, d, x.sum + c);
    }
    rows_of.ddecay.save(t, rows, x.rows);
  }

  static void multiply(const float* x, const float* y, int64_t n, float* out) {
    const F32 d;
    for (int64_t i = 0; i < n; i += lanes())
      hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, out + i);
  }

  static void row_sums(const LinearProblem& p, const float* x, const float* y, float* out) {
    const F32 d;
    const int64_t width = padded_head(p.Dv);
    std::fill_n(out, padded_head(p.Dk), 0.0f);
    for (int64_t i = 0; i < p.Dk; i++) {
      VF sum = hn::Zero(d);
      for (int64_t c = i * width; c < (i + 1) * width; c += lanes())
        sum = hn::MulAdd(hn::LoadU(d, x + c), hn::LoadU(d, y + c), sum);
      out[i] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }
};

LinearBackward ChooseLinearBackward(const LinearProblem& p) {
  return with_float(p.dtype, [&](auto t) -> LinearBackward {
    using Decaying = LinearBackwardOf<decltype(t), true>;
    using Steady = LinearBackwardOf<decltype(t), false>;
    if (p.decay) return {Decaying::scratch, Decaying::run, Decaying::retreat};
    return {Steady::scratch, Steady::run, Steady::retreat};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseLinearBackward);
LinearBackward linear_backward(const LinearProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseLinearBackward)(p);
}
}  // namespace attn::cpu
#endif
