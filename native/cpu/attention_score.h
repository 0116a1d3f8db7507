// How a tile of scores is made from keys and queries, and what its gradient does to them: the one place that
// another kind of score adds to. The loops are templates over it; it has to define, for an instruction set's
// products (attention_dot.h),
//
//   tile            s[key][query] = unscaled scores. `keys` are rows to broadcast, words along D;
//                   `queries` lie across the lanes, [word of D][query].
//   query_gradient  dq[query][d] += what ds gives them, or = with Start::zero. `ds` is read with queries as
//                   rows and keys along the depth; `keys` are vectors along D.
//   key_gradient    dk[key][d] += what ds gives them. `ds` is read with keys as rows and queries along the
//                   depth; `queries` are vectors along D.
//
// ds is the gradient of the scaled scores. The loops do the rest: they multiply scores, and at the end dq and
// dk, by the scale; they mask, exponentiate and weigh. Queries come with the sign of the scale.
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
