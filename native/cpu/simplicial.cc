// simplicial and simplicial_backward {dtype, score, B, Tq, Tk, Hq, Hkv, D, w1, w2, scale, causal, masked,
// entropy}: tasks of some rows of queries of one head of keys, which the team takes as it gets free. A task's
// result does not depend on who runs it, and the cut not on the team.
#include "simplicial.h"

#include "scratch.h"
#include "tasks.h"

namespace attn::cpu {

namespace {

// Tasks enough for any team to share evenly, where the heads are too few.
constexpr int64_t kTasks = 32;
// Rows that repay the keys before them, which a task packs too.
constexpr int64_t kRowsToTask = 64;

struct TaskScratch;
struct Shares;

void run_tasks(const SimplicialCall& call, const SimplicialLoops& loops, const SimplicialCut& cut,
               size_t floats) {
  const SimplicialProblem& p = *call.p;
  take_tasks(
      p.B * p.Hkv * cut.parts, [&] { return aligned_scratch<TaskScratch>(floats); },
      [&](int64_t n, float* memory) {
        const int64_t part = n % cut.parts, head = n / cut.parts;
        const SimplicialTask task{head / p.Hkv, head % p.Hkv, part, cut.first(part), cut.first(part + 1)};
        loops.run(call, cut, task, memory);
      });
}

size_t scratch_of(const SimplicialProblem& p, const SimplicialLoops& loops, const SimplicialCut& cut) {
  size_t floats = 0;
  for (int64_t part = 0; part < cut.parts; part++)
    floats = std::max(floats, loops.scratch(p, cut.first(part), cut.first(part + 1)));
  return floats;
}

Kernel make_forward(Attrs& attrs) {
  const SimplicialProblem p(attrs);
  if (p.B * p.rows() == 0) return [](const Operands&) {};
  const SimplicialLoops loops = simplicial_forward(p);
  const SimplicialCut cut(p);
  const size_t floats = scratch_of(p, loops, cut);
  return [=](const Operands& args) {
    SimplicialCall call{};
    call.p = &p;
    call.q = args.in[0], call.k = args.in[1], call.v = args.in[2], call.k2 = args.in[3], call.v2 = args.in[4];
    if (p.masked) call.mask = static_cast<const uint8_t*>(args.in[5]);
    call.o = args.out[0], call.lse = static_cast<float*>(args.out[1]);
    if (p.entropy) call.entropy = static_cast<float*>(args.out[2]);
    run_tasks(call, loops, cut, floats);
  };
}

Kernel make_backward(Attrs& attrs) {
  const SimplicialProblem p(attrs);
  const SimplicialLoops loops = simplicial_backward(p);
  const SimplicialCut cut(p);
  const SimplicialJoin join = simplicial_join(p.dtype);
  const size_t floats = scratch_of(p, loops, cut);
  const int64_t keys = p.B * p.Hkv * p.Tk;
  if (p.B * (p.Tq + p.Tk) == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    SimplicialCall call{};
    call.p = &p;
    call.dy = args.in[0], call.q = args.in[1], call.k = args.in[2], call.v = args.in[3];
    call.k2 = args.in[4], call.v2 = args.in[5];
    call.o = const_cast<void*>(args.in[6]);
    call.lse = static_cast<float*>(const_cast<void*>(args.in[7]));
    if (p.masked) call.mask = static_cast<const uint8_t*>(args.in[8]);
    call.dq = args.out[0], call.dk = args.out[1], call.dv = args.out[2];
    call.dk2 = args.out[3], call.dv2 = args.out[4];
    if (cut.parts > 1)
      call.shares = aligned_scratch<Shares>(static_cast<size_t>(p.B * p.Hkv * cut.parts * cut.share_floats));
    if (cut.parts > 0) run_tasks(call, loops, cut, floats);
    if (cut.parts != 1)
      parallel_for(keys, 64, [&](int64_t first, int64_t last) { join(call, cut, first, last); });
  };
}

ATTN_CPU_KERNEL(simplicial, make_forward);
ATTN_CPU_KERNEL(simplicial_backward, make_backward);

}  // namespace

SimplicialProblem::SimplicialProblem(Attrs& attrs)
    : dtype(attrs.dtype()),
      score(static_cast<SimplicialScore>(attrs.i())),
      B(attrs.i()),
      Tq(attrs.i()),
      Tk(attrs.i()),
      Hq(attrs.i()),
      Hkv(attrs.i()),
      D(attrs.i()),
      w1(attrs.i()),
      w2(attrs.i()),
      scale(static_cast<float>(attrs.f())),
      causal(attrs.b()),
      masked(attrs.b()),
      entropy(attrs.b()),
      group(Hq / Hkv) {}

SimplicialCut::SimplicialCut(const SimplicialProblem& p) : rows(p.rows()) {
  const int64_t heads = std::max<int64_t>(1, p.B * p.Hkv);
  const int64_t wanted = std::clamp<int64_t>(rows / kRowsToTask, 1, (kTasks + heads - 1) / heads);
  const int64_t tiles = (rows + kSimplicialRows - 1) / kSimplicialRows;
  step = std::max<int64_t>(1, (tiles + wanted - 1) / wanted) * kSimplicialRows;
  parts = (rows + step - 1) / step;
  for (int64_t part = 0; part < parts; part++) {
    shares.emplace_back(p, first(part), first(part + 1));
    share_floats = std::max(share_floats, shares.back().floats);
  }
}

}  // namespace attn::cpu
