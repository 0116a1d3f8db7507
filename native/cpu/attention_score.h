// How a tile of scores is made from keys and queries, and what its gradient does to them: the one place that
// another kind of score replaces. The loops are templates over it and give it
//
//   KeyTile:   `left`, rows of keys to broadcast (words along D); `right`, the same keys in vectors along D
//   QueryTile: `left` never; `across`, queries in lanes [words of D][queries]; `right`, in vectors along D
//
// and it has to define
//
//   tile           s[key][query] = unscaled scores; the loops multiply by the scale, mask, exponentiate
//   query_gradient dq[query][d] += what ds gives, ds read with queries as rows, keys along the depth
//   key_gradient   dk[key][d] += the same the other way about
//
// where ds is the gradient of the scaled scores; the loops multiply dq and dk by the scale at the end.
#if defined(ATTN_CPU_ATTENTION_SCORE) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_SCORE
#undef ATTN_CPU_ATTENTION_SCORE
#else
#define ATTN_CPU_ATTENTION_SCORE
#endif

#include "attention_dot.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

template <class Dot>
struct DotScore {
  // s = K Qᵀ; `depth` words of D.
  static HWY_INLINE void tile(Left keys, Right queries, int64_t depth, float* s, int64_t s_row, int64_t rows,
                              int64_t vectors) {
    product<Dot>(keys, queries, depth, s, s_row, rows, vectors, {Start::zero});
  }
  // dQ += dS K; `depth` words of keys.
  static HWY_INLINE void query_gradient(Left ds, Right keys, int64_t depth, float* dq, int64_t dq_row,
                                        int64_t rows, int64_t vectors, Start start) {
    product<Dot>(ds, keys, depth, dq, dq_row, rows, vectors, start);
  }
  // dK += dSᵀ Q; `depth` words of queries.
  static HWY_INLINE void key_gradient(Left ds, Right queries, int64_t depth, float* dk, int64_t dk_row,
                                      int64_t rows, int64_t vectors) {
    product<Dot>(ds, queries, depth, dk, dk_row, rows, vectors, {Start::add});
  }
};

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
