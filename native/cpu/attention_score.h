// What a score is: the one place that another kind adds to (src/ops/attention.score.ts states them in
// Float64, shaders/lib/attention_score.glsl for the GPU). The loops make the products x of a key with each
// vector of a query, tile by tile, and are templates over a score that says what becomes of them, for N
// queries across the lanes and one key:
//
//   kVectors, kQueryFields, kKeyFields   vectors of a query; numbers beside a query and beside a key that it
//                                        wants: the first two of a query and the first of a key are the
//                                        call's sides, the others `prepare` makes of them
//   kLinear        the score is a factor times x: the loops multiply with it, and at the end its gradients
//   Queries        what it keeps in registers of N queries
//   value          the score in units of log2, so that weights are 2^(y - m)
//   slopes         the same, and its derivatives (in natural units) by each x and each side
//
// The loops do the rest: they mask, exponentiate, weigh, and multiply slopes by the gradient of the score.
#if defined(ATTN_CPU_ATTENTION_SCORE) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_SCORE
#undef ATTN_CPU_ATTENTION_SCORE
#else
#define ATTN_CPU_ATTENTION_SCORE
#endif

#include <cmath>

#include "attention_tile.h"
#include "math.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

// log2 x of normal x > 0, absolute error 6e-8 beyond that of rounding: x = 2^e (1 + t), sqrt(1/2) <= 1 + t <
// sqrt(2), and log2(1 + t) = t Q(t), Q a minimax fit. NaN and infinity give NaN.
HWY_INLINE VF log2_normal(VF x) {
  constexpr float kQ[] = {1.4426949024f,   -0.72134715319f, 0.48092252016f,  -0.36072120070f, 0.28765666485f,
                          -0.23851947486f, 0.21737943590f,  -0.21030317247f, 0.12541212142f};
  const F32 d;
  const I32 i;
  const VI bits = hn::BitCast(i, x);
  const VI e = hn::ShiftRight<23>(hn::Sub(bits, hn::Set(i, 0x3f3504f3)));
  const VF t = hn::Sub(hn::BitCast(d, hn::Sub(bits, hn::ShiftLeft<23>(e))), hn::Set(d, 1.0f));
  const VF y = hn::MulAdd(t, polynomial(t, kQ), hn::ConvertTo(d, e));
  return hn::MulAdd(x, hn::Zero(d), y);
}

// The fields of one key of a tile: number n of key k is at[n * step + k].
struct KeyFields {
  const float* at;
  int64_t step;
  KeyFields from(int64_t k) const { return {at + k, step}; }
  HWY_INLINE VF operator()(int n, int64_t k) const { return hn::Set(F32(), at[n * step + k]); }
};

template <int kVectors>
struct Slopes {
  VF y, x[kVectors];
  VF query[2], key;  // by the sides
};

// s = scale x. Queries come with the sign of the scale.
struct DotScore {
  static constexpr int kVectors = 1, kQueryFields = 0, kKeyFields = 0;
  static constexpr bool kLinear = true;
  struct Queries {
    VF factor;
    Queries(const float*, int64_t, float scale) : factor(vset(std::abs(scale) * kLog2E)) {}
  };
  static HWY_INLINE VF value(const Queries& q, KeyFields, int64_t, const VF* x) {
    return hn::Mul(x[0], q.factor);
  }
};

// s = scale ln(x² + ε).
struct BornScore {
  static constexpr int kVectors = 1, kQueryFields = 0, kKeyFields = 0;
  static constexpr bool kLinear = false;
  struct Queries {
    VF scale;
    Queries(const float*, int64_t, float scale_) : scale(vset(scale_)) {}
  };
  static void prepare(float*, float*, int64_t) {}
  static HWY_INLINE VF square(VF x) { return hn::MulAdd(x, x, vset(1e-6f)); }
  static HWY_INLINE VF value(const Queries& q, KeyFields, int64_t, const VF* x) {
    return hn::Mul(q.scale, log2_normal(square(x[0])));
  }
  static HWY_INLINE Slopes<1> slopes(const Queries& q, KeyFields, int64_t, const VF* x) {
    const VF g = square(x[0]);
    Slopes<1> z;
    z.y = hn::Mul(q.scale, log2_normal(g));
    z.x[0] = hn::Div(hn::Mul(hn::Add(x[0], x[0]), q.scale), g);
    return z;
  }
};

// s = min(0, x1² + x2² - A n) + c x1, query sides (A, c), key side n. Where the first part is cut it has no
// slope.
struct GramScore {
  static constexpr int kVectors = 2, kQueryFields = 2, kKeyFields = 1;
  static constexpr bool kLinear = false;
  struct Queries {
    VF area, sign;
    Queries(const float* fields, int64_t step, float) : area(load(fields)), sign(load(fields + step)) {}
  };
  static void prepare(float*, float*, int64_t) {}
  static HWY_INLINE VF part(const Queries& q, VF n, const VF* x) {
    return hn::MulAdd(x[0], x[0], hn::NegMulAdd(q.area, n, hn::Mul(x[1], x[1])));
  }
  static HWY_INLINE VF value(const Queries& q, KeyFields key, int64_t k, const VF* x) {
    const VF t = part(q, key(0, k), x);
    const VF s = hn::MulAdd(q.sign, x[0], hn::IfThenZeroElse(hn::Gt(t, hn::Zero(F32())), t));
    return hn::Mul(s, vset(kLog2E));
  }
  static HWY_INLINE Slopes<2> slopes(const Queries& q, KeyFields key, int64_t k, const VF* x) {
    const VF n = key(0, k), t = part(q, n, x);
    const auto cut = hn::Gt(t, hn::Zero(F32()));
    const VF two = hn::IfThenZeroElse(cut, vset(2.0f));
    Slopes<2> z;
    z.y = hn::Mul(hn::MulAdd(q.sign, x[0], hn::IfThenZeroElse(cut, t)), vset(kLog2E));
    z.x[0] = hn::MulAdd(two, x[0], q.sign);
    z.x[1] = hn::Mul(two, x[1]);
    z.query[0] = hn::IfThenZeroElse(cut, hn::Neg(n));
    z.query[1] = x[0];
    z.key = hn::IfThenZeroElse(cut, hn::Neg(q.area));
    return z;
  }
};

// s = -β d, d = 2 asinh(√g), g = sinh²((r - s) / 2) + sinh r sinh s m / 2 + 1e-12, m = max(0, 1 - x); query
// sides (r, β), key side s. asinh √g = ln(√g + √(1 + g)).
struct HyperbolicScore {
  static constexpr int kVectors = 1, kQueryFields = 5, kKeyFields = 4;
  static constexpr bool kLinear = false;
  enum { kRadius, kBeta, kQuarterExp, kQuarterExpOfNegative, kHalfSinh };
  enum { kKeyRadius, kExp, kExpOfNegative, kSinh };
  struct Queries {
    VF radius, beta, up, down, half_sinh;
    Queries(const float* fields, int64_t step, float)
        : radius(load(fields)),
          beta(load(fields + kBeta * step)),
          up(load(fields + kQuarterExp * step)),
          down(load(fields + kQuarterExpOfNegative * step)),
          half_sinh(load(fields + kHalfSinh * step)) {}
  };
  // Of `count` radii, a multiple of the lanes: e^r, e^-r and sinh r behind them, as either side wants them.
  static void prepare(float* queries, float* keys, int64_t count) {
    for (int64_t c = 0; c < count; c += lanes()) {
      float* const at = (queries ? queries : keys) + c;
      const VF r = load(at), up = vexp(r), down = vexp(hn::Neg(r)), z = hn::Mul(r, r);
      // r (1 + z / 6 (1 + z / 20 (…))) where the exponentials cancel.
      constexpr float kSeries[] = {1.0f, 1 / 6.0f, 1 / 120.0f, 1 / 5040.0f, 1 / 362880.0f};
      const VF sinh = hn::IfThenElse(hn::Lt(z, vset(1.0f)), hn::Mul(r, polynomial(z, kSeries)),
                                     hn::Mul(vset(0.5f), hn::Sub(up, down)));
      if (queries) {
        store(hn::Mul(up, vset(0.25f)), at + kQuarterExp * count);
        store(hn::Mul(down, vset(0.25f)), at + kQuarterExpOfNegative * count);
        store(hn::Mul(sinh, vset(0.5f)), at + kHalfSinh * count);
      } else {
        store(up, at + kExp * count), store(down, at + kExpOfNegative * count);
        store(sinh, at + kSinh * count);
      }
    }
  }
  struct Pair {
    VF apart, w, m, sinh, g, root, far_root;  // r - s, sinh² of its half, …, sinh s, g, √g, √(1 + g)
  };
  static HWY_INLINE Pair pair(const Queries& q, KeyFields key, int64_t k, VF x) {
    // sinh²(a / 2): its series where (cosh a - 1) / 2, of products of exponentials, would cancel.
    constexpr float kSeries[] = {1 / 4.0f,     1 / 48.0f,      1 / 1440.0f,
                                 1 / 80640.0f, 1 / 7257600.0f, 1 / 958003200.0f};
    Pair p;
    p.sinh = key(kSinh, k);
    p.apart = hn::Sub(q.radius, key(kKeyRadius, k));
    const VF z = hn::Mul(p.apart, p.apart);
    const VF far_off = hn::MulAdd(q.up, key(kExpOfNegative, k), hn::MulSub(q.down, key(kExp, k), vset(0.5f)));
    p.w = hn::IfThenElse(hn::Lt(z, vset(2.25f)), hn::Mul(z, polynomial(z, kSeries)), far_off);
    p.m = hn::IfThenZeroElse(hn::Gt(x, vset(1.0f)), hn::Sub(vset(1.0f), x));
    p.g = hn::MulAdd(hn::Mul(q.half_sinh, p.sinh), p.m, hn::Add(p.w, vset(1e-12f)));
    p.root = hn::Sqrt(p.g), p.far_root = hn::Sqrt(hn::Add(p.g, vset(1.0f)));
    return p;
  }
  static HWY_INLINE VF half_distance(const Pair& p) { return log2_normal(hn::Add(p.root, p.far_root)); }
  static HWY_INLINE VF value(const Queries& q, KeyFields key, int64_t k, const VF* x) {
    return hn::Mul(hn::Mul(q.beta, vset(-2.0f)), half_distance(pair(q, key, k, x[0])));
  }
  static HWY_INLINE Slopes<1> slopes(const Queries& q, KeyFields key, int64_t k, const VF* x) {
    const Pair p = pair(q, key, k, x[0]);
    const VF half = half_distance(p);
    const VF by_g = hn::Div(hn::Neg(q.beta), hn::Mul(p.root, p.far_root));
    const VF turn = hn::CopySign(hn::Sqrt(hn::MulAdd(p.w, p.w, p.w)), p.apart);  // sinh(r - s) / 2
    const VF cosh = hn::MulAdd(vset(0.5f), key(kExp, k), hn::Mul(vset(0.5f), key(kExpOfNegative, k)));
    const VF own_cosh = hn::Add(q.up, q.down);  // cosh r / 2
    Slopes<1> z;
    z.y = hn::Mul(hn::Mul(q.beta, vset(-2.0f)), half);
    z.x[0] = hn::IfThenZeroElse(hn::Not(hn::Lt(x[0], vset(1.0f))),
                                hn::Neg(hn::Mul(by_g, hn::Mul(q.half_sinh, p.sinh))));
    z.query[0] = hn::Mul(by_g, hn::MulAdd(own_cosh, hn::Mul(p.sinh, p.m), turn));
    z.query[1] = hn::Mul(half, vset(-2 * kLn2));
    z.key = hn::Mul(by_g, hn::MulSub(hn::Mul(q.half_sinh, cosh), p.m, turn));
    return z;
  }
};

// The fields of the rows of a tile, kQueries of each; of rows that there are not, those of zeros.
template <class S>
void query_fields(const AttentionCall& call, const QueryTile& tile, float* to) {
  if constexpr (S::kQueryFields > 0) {
    std::fill(to, to + 2 * kQueries, 0.0f);
    for (int64_t r = 0; r < tile.rows; r++) {
      const float* const from = call.sides + tile.side(r);
      to[r] = from[0], to[kQueries + r] = from[1];
    }
    S::prepare(to, nullptr, kQueries);
  }
}
// Those of keys j of a head; `to` has room for them in steps of kStep.
template <class S>
KeyFields key_fields(const AttentionCall& call, int64_t b, int64_t kv_head, Span j, float* to) {
  const int64_t step = round_up(j.size(), kStep);
  if constexpr (S::kKeyFields > 0) {
    const AttentionProblem& p = *call.p;
    const float* const from = call.sides + b * p.sides.batch + p.sides.keys + kv_head;
    for (int64_t k = 0; k < j.size(); k++) to[k] = from[(j.begin + k) * p.Hkv];
    std::fill(to + j.size(), to + step, 0.0f);
    S::prepare(nullptr, to, step);
  }
  return {to, step};
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
