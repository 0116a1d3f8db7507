// Attention forward by scores with sides: attention_forward.h, compiled beside attention_forward.cc.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/scored_attention_forward.cc"
#include "attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "attention_forward.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

AttentionLoops ChooseScoredForward(DType dtype, Score score) {
  return score == Score::gram ? forward_loops<GramScore>(dtype) : forward_loops<HyperbolicScore>(dtype);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseScoredForward);
AttentionLoops scored_attention_forward(const AttentionProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseScoredForward)(p.dtype, p.score);
}
}  // namespace attn::cpu
#endif
