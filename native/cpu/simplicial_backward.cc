// The gradient of simplicial attention in one pass over the tiles of simplicial_forward.cc. With the columns
// a = q ∘ k2 and g = dO ∘ v2 of a tile, all that costs is a product of matrices:
//
//   S = K A    dP = V G    P = 2^(S - lse)    dS = P (dP - delta), delta = dO o
//   dA = dSᵀ K    R = Pᵀ V    dK += dS Aᵀ    dV += P Gᵀ
//
// and then dq += dA ∘ k2, dk2 += dA ∘ q, dv2 += R ∘ dO. In base 2: q comes with scale log2 e.
// Tasks add up what they give to keys in shares of their own in float32; where a head is several tasks, the
// shares of neighbours overlap, and simplicial_join adds them in order: no atomics, and the same sum for any
// number of threads.
#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/simplicial_backward.cc"
#include "simplicial.h"
#include "targets.h"

#include <hwy/foreach_target.h>

#include "exp2.h"
#include "simplicial_tile.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

// dk, dv, dk2, dv2 of key j of a head from the shares of its parts, which begin at `shares`.
template <class T>
void write_key(const SimplicialCall& call, const SimplicialCut& cut, int64_t head, int64_t j,
               const float* shares) {
  const F32 d;
  const SimplicialProblem& p = *call.p;
  const int64_t words = p.score_width(), width = p.value_width(), N = lanes();
  const int64_t to = ((head / p.Hkv * p.Tk + j) * p.Hkv + head % p.Hkv) * p.D;
  const auto sum = [&](bool second, int64_t SimplicialShare::*begin, int64_t row, float* out) HWY_ATTR {
    std::fill_n(out, row, 0.0f);
    for (int64_t part = 0; part < cut.parts; part++) {
      const SimplicialShare& share = cut.shares[static_cast<size_t>(part)];
      const Reach span = second ? share.second : share.first;
      if (j < span.begin || j >= span.end) continue;
      const float* const from = shares + part * cut.share_floats + share.*begin + (j - span.begin) * row;
      for (int64_t l = 0; l < row; l += N)
        hn::Store(hn::Add(hn::Load(d, out + l), hn::LoadU(d, from + l)), d, out + l);
    }
  };
  alignas(64) float row[256] = {};
  sum(false, &SimplicialShare::dk, words, row);
  unpack_score_row(p, row, kLn2, static_cast<T*>(call.dk) + to);
  sum(true, &SimplicialShare::dk2, words, row);
  unpack_score_row(p, row, kLn2, static_cast<T*>(call.dk2) + to);
  sum(false, &SimplicialShare::dv, width, row);
  narrow_row(row, 1, static_cast<T*>(call.dv) + to, p.D);
  sum(true, &SimplicialShare::dv2, width, row);
  narrow_row(row, 1, static_cast<T*>(call.dv2) + to, p.D);
}

template <class T>
void join_shares(const SimplicialCall& call, const SimplicialCut& cut, int64_t first, int64_t last) {
  const int64_t Tk = call.p->Tk;
  for (int64_t n = first; n < last; n++)
    write_key<T>(call, cut, n / Tk, n % Tk, call.shares + n / Tk * cut.parts * cut.share_floats);
}

template <class T>
struct SimplicialBackward {
  struct Scratch {
    PackedKeys first, second;
    float *q, *g, *a, *b, *a_across, *b_across, *s, *dp, *da, *r, *dq, *lse, *delta;  // b is dO ∘ v2
    float* share;
    Scratch(const SimplicialProblem& p, int64_t from, int64_t to, Bump& bump)
        : first(p, p.reach_of_rows(from, to, p.w1), bump), second(p, p.reach_of_rows(from, to, p.w2), bump) {
      const int64_t words = p.score_width(), width = p.value_width();
      q = bump.take(kRows * words);
      g = bump.take(kRows * width);
      a = bump.take(kColumns * words);
      b = bump.take(kColumns * width);
      a_across = bump.take(words * kColumns);
      b_across = bump.take(width * kColumns);
      s = bump.take(kTileKeys * kColumns);
      dp = bump.take(kTileKeys * kColumns);
      da = bump.take(kColumns * words);
      r = bump.take(kColumns * width);
      dq = bump.take(kRows * words);
      lse = bump.take(kRows);
      delta = bump.take(kRows);
      share = bump.take(SimplicialShare(p, from, to).floats);
    }
  };

  static size_t scratch(const SimplicialProblem& p, int64_t first, int64_t last) {
    Bump bump(nullptr);
    Scratch(p, first, last, bump);
    return bump.used();
  }

  static void run(const SimplicialCall& call, const SimplicialCut& cut, const SimplicialTask& task,
                  float* memory) {
    const SimplicialProblem& p = *call.p;
    Bump bump(memory);
    const Scratch x(p, task.first, task.last, bump);
    const int64_t head = task.b * p.Hkv + task.kv_head;
    const SimplicialShare& share = cut.shares[static_cast<size_t>(task.part)];
    float* const to = call.shares ? call.shares + (head * cut.parts + task.part) * cut.share_floats : x.share;
    std::fill(to, to + share.floats, 0.0f);
    x.first.template pack<T>(p, task, call.k, call.v);
    x.second.template pack<T>(p, task, call.k2, call.v2);
    for (int64_t at = task.first; at < task.last; at += kRows)
      one_tile(call, SimplicialTile(p, task, at), share, to, x);
    if (!call.shares)
      for (int64_t j = 0; j < p.Tk; j++) write_key<T>(call, cut, head, j, to);
  }

 private:
  static void one_tile(const SimplicialCall& call, const SimplicialTile& tile, const SimplicialShare& share,
                       float* to, const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    const int64_t words = p.score_width(), width = p.value_width();
    std::fill(x.dq, x.dq + kRows * words, 0.0f);
    if (tile.keys.size() > 0 && tile.from < tile.to) {
      rows_of(call, tile, x);
      for (int64_t o = tile.from; o < tile.to; o += kOffsets) {
        const Columns columns(tile, call.mask, o);
        if (!columns.any) continue;
        const auto second = [&](int64_t c) { return columns.key[c] - x.second.span.begin; };
        for (int64_t c = 0; c < columns.count; c++) {
          float *const a = x.a + c * words, *const b = x.b + c * width;
          if (columns.key[c] < 0) {
            std::fill(a, a + words, 0.0f), std::fill(b, b + width, 0.0f);
            continue;
          }
          combine<false>(p, x.q + c % kRows * words, x.second.k + second(c) * words, a);
          multiply<false>(x.g + c % kRows * width, x.second.v + second(c) * width, width, b);
        }
        transpose_words(x.a, words, columns.count, round_up(p.score_depth(), 4), x.a_across, kColumns);
        transpose_words(x.b, width, columns.count, round_up(p.D, 4), x.b_across, kColumns);
        sweep(call, tile, columns, share, to, x);
        for (int64_t c = 0; c < columns.count; c++) {
          if (columns.key[c] < 0) continue;
          const int64_t r = c % kRows, at = columns.key[c] - share.second.begin;
          combine<true>(p, x.second.k + second(c) * words, x.da + c * words, x.dq + r * words);
          combine<true>(p, x.da + c * words, x.q + r * words, to + share.dk2 + at * words);
          multiply<true>(x.r + c * width, x.g + r * width, width, to + share.dv2 + at * width);
        }
      }
    }
    for (int64_t r = 0; r < tile.rows; r++)
      unpack_score_row(p, x.dq + r * words, p.scale, static_cast<T*>(call.dq) + tile.at(r));
  }

  // q and dO of the rows; lse in units of log2, +inf where a row saw no pair (so that its weights are 0), and
  // delta.
  static void rows_of(const SimplicialCall& call, const SimplicialTile& tile, const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    const int64_t words = p.score_width(), width = p.value_width();
    for (int64_t r = 0; r < kRows; r++) x.lse[r] = kInfinity, x.delta[r] = 0;
    for (int64_t r = 0; r < tile.rows; r++) {
      pack_score_row(p, static_cast<const T*>(call.q) + tile.at(r), p.scale * kLog2E, x.q + r * words);
      widen_row(static_cast<const T*>(call.dy) + tile.at(r), p.D, x.g + r * width, 1);
      const float lse = call.lse[tile.stat(r)];
      if (lse == -kInfinity) continue;
      x.lse[r] = lse * kLog2E;
      const F32 d;
      VF sum = hn::Zero(d);
      const T* const o = static_cast<const T*>(call.o) + tile.at(r);
      for (int64_t c = 0; c < p.D; c += lanes()) {
        const auto some = static_cast<size_t>(std::min(lanes(), p.D - c));
        const VF y = some == hn::Lanes(d) ? load(o + c) : load_n(o + c, some);
        sum = hn::MulAdd(hn::Load(d, x.g + r * width + c), y, sum);
      }
      x.delta[r] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }

  // dA and R of the columns, and what they give to dk and dv, over all keys that the tile sees.
  static void sweep(const SimplicialCall& call, const SimplicialTile& tile, const Columns& columns,
                    const SimplicialShare& share, float* to, const Scratch& x) {
    const SimplicialProblem& p = tile.p;
    const int64_t words = p.score_width(), width = p.value_width(), N = lanes(), used = columns.lanes_used();
    for (int64_t j = tile.keys.begin; j < tile.keys.end; j += kTileKeys) {
      const Span keys{j, std::min(j + kTileKeys, tile.keys.end)};
      const int64_t at = j - x.first.span.begin, n = keys.size();
      const float *const k = x.first.k + at * words, *const v = x.first.v + at * width;
      product<FloatDot>({k, words, 1}, {x.a_across, kColumns}, p.score_depth(), x.s, kColumns, n, used / N,
                        {Start::zero});
      product<FloatDot>({v, width, 1}, {x.b_across, kColumns}, p.D, x.dp, kColumns, n, used / N,
                        {Start::zero});
      const Seen seen(tile, columns, call.mask, keys);
      for (int64_t lane = 0; lane < used; lane += N) gradients(seen, n, lane, x);
      const Start start{j == tile.keys.begin ? Start::zero : Start::add};
      product<FloatDot>({x.dp, 1, kColumns}, {k, words}, n, x.da, words, columns.count, words / N, start);
      product<FloatDot>({x.s, 1, kColumns}, {v, width}, n, x.r, width, columns.count, width / N, start);
      product<FloatDot>({x.dp, kColumns, 1}, {x.a, words}, columns.count, to + share.dk + at * words, words,
                        n, words / N, {Start::add});
      product<FloatDot>({x.s, kColumns, 1}, {x.b, width}, columns.count, to + share.dv + at * width, width, n,
                        width / N, {Start::add});
    }
  }

  // P and dS of N columns, in the places of S and dP.
  static HWY_INLINE void gradients(const Seen& seen, int64_t count, int64_t lane, const Scratch& x) {
    const F32 d;
    const VF lse = hn::LoadDup128(d, x.lse), delta = hn::LoadDup128(d, x.delta);
    for (int64_t k = 0; k < count; k++) {
      float *const s = x.s + k * kColumns + lane, *const dp = x.dp + k * kColumns + lane;
      VF w = exp2_below_127(hn::Min(hn::Set(d, 127.0f), hn::Sub(hn::Load(d, s), lse)));
      VF ds = hn::Mul(w, hn::Sub(hn::Load(d, dp), delta));
      if (!seen.whole) {
        const auto there = seen(k, lane);
        w = hn::IfThenElseZero(there, w), ds = hn::IfThenElseZero(there, ds);
      }
      hn::Store(w, d, s);
      hn::Store(ds, d, dp);
    }
  }

  template <bool kAdd>
  static HWY_INLINE void multiply(const float* a, const float* b, int64_t width, float* HWY_RESTRICT to) {
    const F32 d;
    for (int64_t l = 0; l < width; l += lanes()) {
      const VF y = hn::Mul(hn::LoadU(d, a + l), hn::LoadU(d, b + l));
      hn::StoreU(kAdd ? hn::Add(hn::LoadU(d, to + l), y) : y, d, to + l);
    }
  }
};

SimplicialLoops ChooseSimplicialBackward(DType dtype) {
  return with_float(dtype, [](auto t) {
    using Of = SimplicialBackward<decltype(t)>;
    return SimplicialLoops{Of::scratch, Of::run};
  });
}
SimplicialJoin ChooseSimplicialJoin(DType dtype) {
  return with_float(dtype, [](auto t) -> SimplicialJoin { return join_shares<decltype(t)>; });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseSimplicialBackward);
HWY_EXPORT(ChooseSimplicialJoin);
SimplicialLoops simplicial_backward(const SimplicialProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseSimplicialBackward)(p.dtype);
}
SimplicialJoin simplicial_join(DType dtype) { return HWY_DYNAMIC_DISPATCH(ChooseSimplicialJoin)(dtype); }
}  // namespace attn::cpu
#endif
