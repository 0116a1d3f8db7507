// The gradient of attention by scores that are functions of q · k: attention_backward.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_backward.cc"
#include "attention.h"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "attention_backward.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

// dq and its sides of the parts together.
template <class T>
void join_parts(const AttentionCall& call, int64_t parts, int64_t first, int64_t last) {
  const AttentionProblem& p = *call.p;
  const F32 d;
  const int64_t N = lanes(), width = padded_head(p.D), length = p.partial_row();
  const int64_t all = p.B * p.Hkv * p.rows();
  alignas(64) float sum[2 * 256 + 16];
  for (int64_t row = first; row < last; row++) {
    for (int64_t c = 0; c < length; c += N) {
      VF y = hn::LoadU(d, call.partial + row * length + c);
      for (int64_t part = 1; part < parts; part++)
        y = hn::Add(y, hn::LoadU(d, call.partial + (part * all + row) * length + c));
      hn::Store(y, d, sum + c);
    }
    const int64_t line = row / p.rows(), r = row % p.rows();
    const int64_t b = line / p.Hkv, query = r / p.group, head = line % p.Hkv * p.group + r % p.group;
    T* const to = row_of<T>(call.dq, b, query, head);
    for (int64_t n = 0; n < p.vectors(); n++)
      narrow_row(sum + n * width, p.score == Score::dot ? p.scale : 1, to + n * p.D, p.D);
    if (p.sides.operand >= 0)
      std::copy_n(sum + p.vectors() * width, 2, call.dsides + b * p.sides.batch + (query * p.Hq + head) * 2);
  }
}

AttentionJoin ChooseBackwardJoin(DType dtype) {
  return with_float(dtype, [](auto t) -> AttentionJoin { return join_parts<decltype(t)>; });
}
AttentionLoops ChooseBackward(DType dtype, Score score) {
  return score == Score::dot ? backward_loops<DotScore>(dtype) : backward_loops<BornScore>(dtype);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(ChooseBackward);
HWY_EXPORT(ChooseBackwardJoin);
AttentionLoops attention_backward(const AttentionProblem& p) {
  return HWY_DYNAMIC_DISPATCH(ChooseBackward)(p.dtype, p.score);
}
AttentionJoin attention_join(DType dtype) { return HWY_DYNAMIC_DISPATCH(ChooseBackwardJoin)(dtype); }
}  // namespace attn::cpu
#endif
