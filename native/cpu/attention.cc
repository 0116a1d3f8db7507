// attention and attention_backward: the work cut into tasks, a head of keys or a part of one each, which the
// team takes as it gets free. A task's result does not depend on who runs it, and the cut not on the team.
#include "attention.h"

#include <cstdlib>
#include <memory>

#include "tasks.h"

namespace attn::cpu {

namespace {

AttentionRows rows(Attrs& attrs) {
  AttentionRows r{};
  for (int64_t* field : {&r.operand, &r.offset, &r.batch, &r.row, &r.head}) *field = attrs.i();
  return r;
}

// Workspace of the calling thread, as large as its largest user needed; valid until the next call for the
// same use.
enum class Workspace : uint8_t { task, partial };
float* workspace(Workspace use, size_t floats) {
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  struct Held {
    std::unique_ptr<float, Free> floats;
    size_t size = 0;
  };
  thread_local Held held[2];
  Held& h = held[static_cast<size_t>(use)];
  if (floats > h.size) {
    h.floats.reset();
    h.size = 0;
    h.floats.reset(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
    if (!h.floats) throw Error("ATTN_OUT_OF_MEMORY", "no room for the tiles of attention");
    h.size = floats;
  }
  return h.floats.get();
}

// Tasks enough for any team to share evenly, where the heads are too few.
constexpr int64_t kTasks = 32;
// Tiles that repay what a task does for its head.
constexpr int64_t kTilesToTask = 4;

struct Cut {
  int64_t tiles, parts;
  Cut(const AttentionProblem& p, int64_t length, int64_t tile) : tiles((length + tile - 1) / tile) {
    const int64_t heads = std::max<int64_t>(1, p.B * p.Hkv);
    parts = std::max<int64_t>(1, std::min((kTasks + heads - 1) / heads, tiles / kTilesToTask));
  }
  int64_t first(int64_t part) const { return tiles * part / parts; }
};

void run_tasks(const AttentionCall& call, const AttentionLoops& loops, const Cut& cut, size_t floats) {
  const AttentionProblem& p = *call.p;
  take_tasks(
      p.B * p.Hkv * cut.parts, [&] { return workspace(Workspace::task, floats); },
      [&](int64_t n, float* scratch) {
        // The last parts first: of causal rows they are the longest.
        const int64_t part = cut.parts - 1 - n % cut.parts, head = n / cut.parts;
        loops.run(call, {head / p.Hkv, head % p.Hkv, part, cut.first(part), cut.first(part + 1)}, scratch);
      });
}

AttentionOperand at(const Operands& args, const AttentionRows& rows, DType dtype) {
  const auto n = static_cast<size_t>(rows.operand);
  void* const base = n < args.in.size() ? const_cast<void*>(args.in[n]) : args.out[n - args.in.size()];
  return {static_cast<char*>(base) + rows.offset * static_cast<int64_t>(size_of(dtype)), rows.batch, rows.row,
          rows.head};
}
float* stat(const Operands& args, int64_t operand) {
  if (operand < 0) return nullptr;
  return static_cast<float*>(at(args, {operand, 0, 0, 0, 0}, DType::f32).at);
}
const void* mask_of(const Operands& args, const AttentionProblem& p) {
  return p.mask == MaskKind::none ? nullptr : args.in[static_cast<size_t>(p.mask_operand)];
}

Kernel make_forward(Attrs& attrs) {
  const AttentionProblem p(attrs);
  const AttentionRows q = rows(attrs), k = rows(attrs), v = rows(attrs), o = rows(attrs);
  const int64_t lse = attrs.i(), entropy = attrs.i();
  const AttentionLoops loops = p.sides.operand < 0 ? attention_forward(p) : scored_attention_forward(p);
  const Cut cut(p, p.rows(), kAttentionQueries);
  const size_t floats = loops.scratch(p, p.Tk);
  if (p.B * p.rows() == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    AttentionCall call{};
    call.p = &p;
    call.q = at(args, q, p.dtype), call.k = at(args, k, p.dtype);
    call.v = at(args, v, p.dtype), call.o = at(args, o, p.dtype);
    call.mask = mask_of(args, p);
    call.sides = stat(args, p.sides.operand);
    call.lse = stat(args, lse), call.entropy = stat(args, entropy);
    run_tasks(call, loops, cut, floats);
  };
}

Kernel make_backward(Attrs& attrs) {
  const AttentionProblem p(attrs);
  const AttentionRows q = rows(attrs), k = rows(attrs), v = rows(attrs), o = rows(attrs), dy = rows(attrs);
  const AttentionRows dq = rows(attrs), dk = rows(attrs), dv = rows(attrs);
  const int64_t lse = attrs.i(), dsides = attrs.i();
  const AttentionLoops loops = p.sides.operand < 0 ? attention_backward(p) : scored_attention_backward(p);
  const Cut cut(p, p.Tk, loops.keys);
  size_t floats = 0;
  for (int64_t part = 0; part < cut.parts; part++)
    floats = std::max(floats, loops.scratch(p, (cut.first(part + 1) - cut.first(part)) * loops.keys));
  const int64_t query_rows = p.B * p.Hkv * p.rows();
  const AttentionJoin join = attention_join(p.dtype);
  if (p.B * (p.Tq + p.Tk) == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    AttentionCall call{};
    call.p = &p;
    call.q = at(args, q, p.dtype), call.k = at(args, k, p.dtype);
    call.v = at(args, v, p.dtype), call.o = at(args, o, p.dtype);
    call.dy = at(args, dy, p.dtype), call.dq = at(args, dq, p.dtype);
    call.dk = at(args, dk, p.dtype), call.dv = at(args, dv, p.dtype);
    call.mask = mask_of(args, p);
    call.sides = stat(args, p.sides.operand), call.dsides = stat(args, dsides);
    call.lse = stat(args, lse);
    if (cut.parts > 1)
      call.partial =
          workspace(Workspace::partial, static_cast<size_t>(cut.parts * query_rows * p.partial_row()));
    run_tasks(call, loops, cut, floats);
    if (cut.parts > 1)
      parallel_for(query_rows, 256, [&](int64_t first, int64_t last) { join(call, cut.parts, first, last); });
  };
}

ATTN_CPU_KERNEL(attention, make_forward);
ATTN_CPU_KERNEL(attention_backward, make_backward);

}  // namespace

AttentionProblem::AttentionProblem(Attrs& attrs)
    : dtype(attrs.dtype()),
      score(static_cast<Score>(attrs.i())),
      B(attrs.i()),
      Tq(attrs.i()),
      Tk(attrs.i()),
      Hq(attrs.i()),
      Hkv(attrs.i()),
      D(attrs.i()),
      scale(static_cast<float>(attrs.f())),
      causal(attrs.b()),
      window(attrs.i()),
      alibi(attrs.b()),
      mask(static_cast<MaskKind>(attrs.i())),
      mask_operand(attrs.i()) {
  for (int64_t& stride : mask_strides) stride = attrs.i();
  for (int64_t* field : {&sides.operand, &sides.batch, &sides.keys}) *field = attrs.i();
  group = Hq / Hkv;
  const bool sided = score == Score::gram || score == Score::hyperbolic;
  if (score > Score::hyperbolic || sided != (sides.operand >= 0))
    throw Error("ATTN_INTERNAL", "attention has no kernel for this score");
}

}  // namespace attn::cpu
