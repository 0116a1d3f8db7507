// linear_attention and linear_attention_backward: a head of the batch is a task. Where heads are fewer than
// threads, each is cut into parts of time: what every part adds to the state is summed first, the states
// where the parts begin follow from that, and then all parts run at once.
#include "linear_attention.h"

#include <algorithm>

#include "scratch.h"
#include "team.h"

namespace attn::cpu {

LinearProblem::LinearProblem(Attrs& attrs)
    : dtype(attrs.dtype()),
      B(attrs.i()),
      T(attrs.i()),
      H(attrs.i()),
      Dk(attrs.i()),
      Dv(attrs.i()),
      state(attrs.b()),
      decay(attrs.b()) {}

namespace {

// Tokens that repay a part of their own, and flops that repay a thread.
constexpr int64_t kPart = 256;
constexpr int64_t kFlops = 1 << 20;

// How the heads are cut, and the states where the parts begin.
class Parts {
 public:
  explicit Parts(const LinearProblem& p) : p_(p) {
    const int64_t heads = std::max<int64_t>(1, p.heads()), threads = team_size();
    count_ = std::max<int64_t>(1, std::min((threads + heads - 1) / heads, p.T / kPart));
    if (heads >= threads) count_ = 1;
    length_ = ((p.T + count_ - 1) / count_ + kLinearChunk - 1) / kLinearChunk * kLinearChunk;
  }
  int64_t count() const { return count_; }
  int64_t tokens() const { return std::min(p_.T, length_); }
  LinearSpan span(int64_t task) const {
    const int64_t part = task % count_;
    return {task / count_, std::min(p_.T, part * length_), std::min(p_.T, (part + 1) * length_)};
  }
  // fn(task) for every part of every head on the team.
  template <class F>
  void each(F&& fn) const {
    const int64_t flops = std::max<int64_t>(1, 4 * tokens() * p_.Dk * p_.Dv);
    parallel_for(p_.heads() * count_, std::max<int64_t>(1, kFlops / flops), [&](int64_t first, int64_t last) {
      for (int64_t task = first; task < last; task++) fn(task);
    });
  }

 private:
  const LinearProblem& p_;
  int64_t count_, length_;
};

// A state for each part, and the product of its decays.
struct Carried {
  float *states, *decays;
  int64_t size, Dk, Dv;
  template <class Tag>
  static Carried of(const LinearProblem& p, int64_t tasks) {
    const int64_t size = p.Dk * p.Dv;
    float* const at = scratch<Tag, float>(static_cast<size_t>(tasks * (size + p.Dk)));
    return {at, at + tasks * size, size, p.Dk, p.Dv};
  }
  LinearState state(int64_t task) const { return {states + task * size, Dv}; }
  float* decay(int64_t task) const { return decays + task * Dk; }
};

struct ForwardStates;
struct BackwardStates;
struct CarriedState;
struct TaskScratch;

// From what each part of a head adds to what it begins with: carry = decays carry + part.
void carry(const Carried& parts, const float* decays, const float* start, int64_t first, int64_t count,
           bool backward) {
  float* const now = scratch<CarriedState, float>(static_cast<size_t>(parts.size));
  if (start)
    std::copy_n(start, parts.size, now);
  else
    std::fill_n(now, parts.size, 0.0f);
  for (int64_t n = 0; n < count; n++) {
    const int64_t task = first + (backward ? count - 1 - n : n);
    float* const state = parts.states + task * parts.size;
    for (int64_t i = 0; i < parts.Dk; i++)
      for (int64_t at = i * parts.Dv; at < (i + 1) * parts.Dv; at++) {
        const float added = state[at];
        state[at] = now[at];
        now[at] = decays[task * parts.Dk + i] * state[at] + added;
      }
  }
}

LinearState head_state(const float* states, const LinearProblem& p, int64_t head) {
  return {states ? const_cast<float*>(states) + head * p.Dk * p.Dv : nullptr, p.Dv};
}

// The states where parts begin. The last part's own share is not needed, but its place is.
Carried states_before(const LinearCall& call, const LinearForward& loops, const Parts& parts) {
  const LinearProblem& p = *call.p;
  const Carried before = Carried::of<ForwardStates>(p, p.heads() * parts.count());
  const size_t floats = loops.scratch(p, parts.tokens());
  parts.each([&](int64_t task) {
    loops.advance(call, parts.span(task), before.state(task), before.decay(task),
                  aligned_scratch<TaskScratch>(floats));
  });
  for (int64_t head = 0; head < p.heads(); head++)
    carry(before, before.decays, head_state(call.state, p, head).at, head * parts.count(), parts.count(),
          false);
  return before;
}

Kernel make_forward(Attrs& attrs) {
  const LinearProblem p(attrs);
  const LinearForward loops = linear_forward(p);
  return [=](const Operands& args) {
    LinearCall call{};
    call.p = &p;
    call.q = args.in[0], call.k = args.in[1], call.v = args.in[2];
    call.state = p.state ? static_cast<const float*>(args.in[3]) : nullptr;
    call.decay = p.decay ? static_cast<const float*>(args.in[4]) : nullptr;
    call.o = args.out[0], call.final = static_cast<float*>(args.out[1]);
    const Parts parts(p);
    const size_t floats = loops.scratch(p, parts.tokens());
    const Carried before = parts.count() > 1 ? states_before(call, loops, parts) : Carried{};
    parts.each([&](int64_t task) {
      const LinearSpan span = parts.span(task);
      const LinearState end = head_state(call.final, p, span.head);
      loops.run(call, span, parts.count() > 1 ? before.state(task) : head_state(call.state, p, span.head),
                task % parts.count() == parts.count() - 1 ? end : LinearState{},
                aligned_scratch<TaskScratch>(floats));
    });
  };
}

Kernel make_backward(Attrs& attrs) {
  const LinearProblem p(attrs);
  const LinearForward forward = linear_forward(p);
  const LinearBackward loops = linear_backward(p);
  return [=](const Operands& args) {
    LinearCall call{};
    call.p = &p;
    call.dy = args.in[0], call.dfinal = static_cast<const float*>(args.in[1]);
    call.q = args.in[2], call.k = args.in[3], call.v = args.in[4];
    call.state = p.state ? static_cast<const float*>(args.in[5]) : nullptr;
    call.decay = p.decay ? static_cast<const float*>(args.in[6]) : nullptr;
    call.dq = args.out[0], call.dk = args.out[1], call.dv = args.out[2];
    call.dstate = p.state ? static_cast<float*>(args.out[3]) : nullptr;
    call.ddecay = p.decay ? static_cast<float*>(args.out[4]) : nullptr;
    const Parts parts(p);
    const bool cut = parts.count() > 1;
    const size_t floats = loops.scratch(p, parts.tokens());
    Carried before{}, after{};
    if (cut) {
      before = states_before(call, forward, parts);
      after = Carried::of<BackwardStates>(p, p.heads() * parts.count());
      parts.each([&](int64_t task) {
        loops.retreat(call, parts.span(task), after.state(task), aligned_scratch<TaskScratch>(floats));
      });
      for (int64_t head = 0; head < p.heads(); head++)
        carry(after, before.decays, head_state(call.dfinal, p, head).at, head * parts.count(), parts.count(),
              true);
    }
    parts.each([&](int64_t task) {
      const LinearSpan span = parts.span(task);
      const LinearState end = head_state(call.dstate, p, span.head);
      loops.run(call, span, cut ? before.state(task) : head_state(call.state, p, span.head),
                cut ? after.state(task) : head_state(call.dfinal, p, span.head),
                task % parts.count() == 0 ? end : LinearState{}, aligned_scratch<TaskScratch>(floats));
    });
  };
}

ATTN_CPU_KERNEL(linear_attention, make_forward);
ATTN_CPU_KERNEL(linear_attention_backward, make_backward);

}  // namespace
}  // namespace attn::cpu
