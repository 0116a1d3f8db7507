// Simplicial attention on the CPU: the problem, and the loops that simplicial_forward.cc and
// simplicial_backward.cc compile for each instruction set. simplicial.cc cuts the work into tasks for the
// team.
//
// As in attention.h the query heads that share a head of keys are rows of one matrix, row r = i group + g.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernel.h"

namespace attn::cpu {

enum class SimplicialScore : uint8_t { trilinear = 0, determinant = 1 };

struct SimplicialProblem {
  DType dtype;
  SimplicialScore score;
  int64_t B, Tq, Tk, Hq, Hkv, D, w1, w2;
  float scale;
  bool causal, masked, entropy;
  int64_t group;  // query heads to a head of keys

  explicit SimplicialProblem(Attrs&);          // the order in which src/ops/simplicial.ts packs them
  int64_t rows() const { return Tq * group; }  // of queries, to a head of keys

  struct Span {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
  };
  // Key at which query i stands; those that a window of w leaves it, masks aside.
  int64_t place(int64_t i) const { return i + Tk - Tq; }
  Span reach(int64_t i, int64_t w) const {
    const int64_t begin = std::clamp<int64_t>(place(i) - w + 1, 0, Tk);
    return {begin, std::clamp<int64_t>(place(i) + (causal ? 1 : w), begin, Tk)};
  }
  // Those that any of the rows [first, last) sees.
  Span reach_of_rows(int64_t first, int64_t last, int64_t w) const {
    const Span a = reach(first / group, w), b = reach((last - 1) / group, w);
    return {a.begin, std::max(a.begin, b.end)};
  }

  // Floats of a row of q, k or k2 that enter the score, and of one of v or v2; padded to whole vectors.
  int64_t score_depth() const { return score == SimplicialScore::trilinear ? D : D / 3 * 3; }
  int64_t score_width() const { return (score_depth() + 15) / 16 * 16; }
  int64_t value_width() const { return (D + 15) / 16 * 16; }
};

// One call's addresses. Those of the gradient are null forward.
struct SimplicialCall {
  const SimplicialProblem* p;
  const void *q, *k, *v, *k2, *v2;
  const uint8_t* mask;  // [B, Tk]; null: all are seen
  void* o;              // read by the gradient
  float *lse, *entropy;
  const void* dy;
  void *dq, *dk, *dv, *dk2, *dv2;
  float* shares;  // those of the tasks, one after the other; null where each head is one task
};

// A task: rows [first, last) of a head of keys.
struct SimplicialTask {
  int64_t b, kv_head, part, first, last;
};

inline constexpr int64_t kSimplicialRows = 4;      // of queries, in a tile: one vector of 128 bits
inline constexpr int64_t kSimplicialOffsets = 16;  // keys of k2 at a time, to each of the rows
inline constexpr int64_t kSimplicialKeys = 64;     // keys of k at a time

// Where the gradients of the keys that a task's rows see lie in its share: float32, rows padded.
struct SimplicialShare {
  SimplicialProblem::Span first, second;  // keys of k and v, of k2 and v2
  int64_t dk = 0, dv, dk2, dv2, floats;
  SimplicialShare(const SimplicialProblem& p, int64_t from, int64_t to)
      : first(p.reach_of_rows(from, to, p.w1)),
        second(p.reach_of_rows(from, to, p.w2)),
        dv(first.size() * p.score_width()),
        dk2(dv + first.size() * p.value_width()),
        dv2(dk2 + second.size() * p.score_width()),
        floats(dv2 + second.size() * p.value_width()) {}
};

// The rows of a head in parts, the same for any team.
struct SimplicialCut {
  int64_t rows, parts, step;
  std::vector<SimplicialShare> shares;  // of the parts
  int64_t share_floats = 0;             // of the largest
  explicit SimplicialCut(const SimplicialProblem&);
  int64_t first(int64_t part) const { return std::min(rows, part * step); }
};

struct SimplicialLoops {
  size_t (*scratch)(const SimplicialProblem&, int64_t first, int64_t last);  // floats that a task needs
  void (*run)(const SimplicialCall&, const SimplicialCut&, const SimplicialTask&, float* scratch);
};
SimplicialLoops simplicial_forward(const SimplicialProblem&);
SimplicialLoops simplicial_backward(const SimplicialProblem&);

// dk, dv, dk2, dv2 of keys [first, last) of all B Hkv Tk, from the shares of the tasks.
using SimplicialJoin = void (*)(const SimplicialCall&, const SimplicialCut&, int64_t first, int64_t last);
SimplicialJoin simplicial_join(DType);

}  // namespace attn::cpu
