// Attention forward by scores that are functions of q · k: attention_forward.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_forward.cc"
#include "attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "attention_forward.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

AttentionLoops ChooseForward(DType dtype, Score score) {
  return score == Score::dot ? forward_loops<DotScore>(dtype) : forward_loops<BornScore>(dtype);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseForward);
AttentionLoops attention_forward(const AttentionProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseForward)(p.dtype, p.score);
}
}  // namespace attn::cpu
#endif
