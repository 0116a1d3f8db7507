// Linear attention forward: of each chunk
//
//   o = (q decayed since the chunk began) S + tril(q kᵀ, decayed in between) v
//   S = diag(all decays) S + (k decayed until the chunk ends)ᵀ v
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/linear_attention_forward.cc"
#include "linear_attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "linear_attention_chunk.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

template <class T, bool kDecay>
struct LinearForwardOf {
  struct Scratch {
    float *q, *k, *v, *a, *q_decayed, *k_decayed, *all, *across, *scores, *o, *state;
    Scratch(const LinearProblem& p, Bump& bump) {
      const int64_t wk = padded_head(p.Dk), wv = padded_head(p.Dv);
      q = bump.take(kChunk * wk);
      k = bump.take(kChunk * wk);
      v = bump.take(kChunk * wv);
      a = bump.take(kDecay ? kChunk * wk : 0);
      q_decayed = kDecay ? bump.take(kChunk * wk) : q;
      k_decayed = kDecay ? bump.take(kChunk * wk) : k;
      all = kDecay ? bump.take(wk) : nullptr;
      across = bump.take(wk * kChunk);
      scores = bump.take(kChunk * kChunk);
      o = bump.take(kChunk * wv);
      state = bump.take(p.Dk * wv);
    }
  };
  static size_t scratch(const LinearProblem& p, int64_t) {
    Bump bump(nullptr);
    Scratch(p, bump);
    return bump.used();
  }

  struct Operands {
    HeadRows<const T> q, k, v;
    HeadRows<T> o;
    HeadRows<const float> decay;
    Operands(const LinearCall& call, int64_t head)
        : q(call.q, *call.p, head, call.p->Dk),
          k(call.k, *call.p, head, call.p->Dk),
          v(call.v, *call.p, head, call.p->Dv),
          o(call.o, *call.p, head, call.p->Dv),
          decay(call.decay, *call.p, head, call.p->Dk) {}
  };

  static void run(const LinearCall& call, const LinearSpan& span, LinearState before, LinearState end,
                  float* memory) {
    const LinearProblem& p = *call.p;
    const int64_t N = lanes(), wk = padded_head(p.Dk), wv = padded_head(p.Dv);
    Bump bump(memory);
    const Scratch x(p, bump);
    const Operands rows_of(call, span.head);
    if (span.last - span.first == 1 && p.Dv % N == 0) return step(rows_of, span.first, before, end, x);
    load_state(p, before, x.state);
    for (int64_t t = span.first; t < span.last; t += kChunk) {
      const int64_t rows = std::min(kChunk, span.last - t);
      rows_of.q.load(t, rows, x.q);
      load_keys(rows_of, t, rows, x);
      if (kDecay) decay_rows<false>(x.q, x.a, rows, wk, x.q_decayed, x.all);
      product<FloatDot>({x.q_decayed, wk, 1}, {x.state, wv}, p.Dk, x.o, wv, rows, wv / N, {Start::zero});
      if constexpr (kDecay) {
        decayed_scores(x.q, x.k, x.a, rows, wk, x.scores);
      } else {
        transpose_words(x.k, wk, kChunk, wk, x.across, kChunk);
        product<FloatDot>({x.q, wk, 1}, {x.across, kChunk}, p.Dk, x.scores, kChunk, rows, kChunk / N,
                          {Start::zero});
      }
      add_lower(x.scores, kChunk, 1, x.v, rows, wv, x.o);
      rows_of.o.save(t, rows, x.o);
      add_to_state(p, x.k_decayed, x.v, rows, x.all, x.state);
    }
    save_state(p, x.state, end);
  }

  static void advance(const LinearCall& call, const LinearSpan& span, LinearState end, float* decays,
                      float* memory) {
    const LinearProblem& p = *call.p;
    Bump bump(memory);
    const Scratch x(p, bump);
    const Operands rows_of(call, span.head);
    load_state(p, {nullptr, 0}, x.state);
    std::fill_n(decays, p.Dk, 1.0f);
    for (int64_t t = span.first; t < span.last; t += kChunk) {
      const int64_t rows = std::min(kChunk, span.last - t);
      load_keys(rows_of, t, rows, x);
      add_to_state(p, x.k_decayed, x.v, rows, x.all, x.state);
      if (kDecay)
        for (int64_t i = 0; i < p.Dk; i++) decays[i] *= x.all[i];
    }
    save_state(p, x.state, end);
  }

 private:
  static void load_keys(const Operands& from, int64_t t, int64_t rows, const Scratch& x) {
    from.k.load(t, rows, x.k);
    from.v.load(t, rows, x.v);
    if constexpr (!kDecay) return;
    load_decays(from.decay, t, rows, x.a);
    decay_rows<true>(x.k, x.a, rows, padded_head(from.k.D), x.k_decayed, x.all);
  }

  // One token, as in decoding: the state is read and written once, from where it is to where it goes.
  static void step(const Operands& rows_of, int64_t t, LinearState before, LinearState end,
                   const Scratch& x) {
    rows_of.q.load(t, 1, x.q);
    rows_of.k.load(t, 1, x.k);
    rows_of.v.load(t, 1, x.v);
    if (kDecay) load_decays(rows_of.decay, t, 1, x.a);
    const int64_t Dk = rows_of.k.D;
    each_columns(rows_of.v.D, [&]<int V>(int64_t c) HWY_ATTR {
      const auto v = Vectors<V>::of(x.v + c);
      Vectors<V> o;
      for (VF& part : o.v) part = hn::Zero(F32());
      for (int64_t i = 0; i < Dk; i++) {
        Vectors<V> s;
        for (VF& part : s.v) part = hn::Zero(F32());
        if (before.at) s.add(kDecay ? x.a[i] : 1.0f, Vectors<V>::of(before.at + i * before.row + c));
        s.add(x.k[i], v);
        if (end.at) s.to(end.at + i * end.row + c);
        o.add(x.q[i], s);
      }
      o.to(x.o + c);
    });
    rows_of.o.save(t, 1, x.o);
  }
};

LinearForward ChooseLinearForward(const LinearProblem& p) {
  return with_float(p.dtype, [&](auto t) -> LinearForward {
    using Decaying = LinearForwardOf<decltype(t), true>;
    using Steady = LinearForwardOf<decltype(t), false>;
    if (p.decay) return {Decaying::scratch, Decaying::run, Decaying::advance};
    return {Steady::scratch, Steady::run, Steady::advance};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseLinearForward);
LinearForward linear_forward(const LinearProblem& p) { return HWY_DYNAMIC_DISPATCH(ChooseLinearForward)(p); }
}  // namespace attn::cpu
#endif
