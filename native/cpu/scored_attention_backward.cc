// The gradient of attention by scores with sides: attention_backward.h, compiled beside
// attention_backward.cc.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/scored_attention_backward.cc"
#include "attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "attention_backward.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

AttentionLoops ChooseScoredBackward(DType dtype, Score score) {
  return score == Score::gram ? backward_loops<GramScore>(dtype) : backward_loops<HyperbolicScore>(dtype);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseScoredBackward);
AttentionLoops scored_attention_backward(const AttentionProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseScoredBackward)(p.dtype, p.score);
}
}  // namespace attn::cpu
#endif
