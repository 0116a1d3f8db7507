// Attention on the CPU: the problem, and the loops that attention_forward.cc and attention_backward.cc
// compile for each instruction set. attention.cc cuts the work into tasks for the team.
//
// Rows. The query heads that share a head of keys (a group) are read as rows of one matrix, row r = i group +
// g for query i and head g of the group: a tile of queries then holds as many of them as it can, and grouped
// heads, short sequences and decoding need nothing of their own.
#pragma once

#include <array>
#include <span>

#include "kernel.h"

namespace attn::cpu {

enum class Score : uint8_t { dot = 0, born = 1, gram = 2, hyperbolic = 3 };
enum class MaskKind : uint8_t { none = 0, keep = 1, add = 2 };

// Element (b, t, h, d) of operand number `operand` is at offset + b batch + t row + h head + d.
struct AttentionRows {
  int64_t operand, offset, batch, row, head;
};

struct AttentionProblem {
  DType dtype;
  Score score;
  int64_t B, Tq, Tk, Hq, Hkv, D;
  float scale;
  bool causal;
  int64_t window;  // 0: all keys
  bool alibi;
  MaskKind mask;
  int64_t mask_operand;
  std::array<int64_t, 4> mask_strides;  // of b, h, i, j
  // Of a score with sides: number n of query (t, h) is at b batch + (t Hq + h) 2 + n, that of key (t, h) at b
  // batch + keys + t Hkv + h. Operand -1: none.
  struct {
    int64_t operand, batch, keys;
  } sides;

  explicit AttentionProblem(Attrs&);           // the order in which src/ops/attention.common.ts packs them
  int64_t group;                               // query heads to a head of keys
  int64_t rows() const { return Tq * group; }  // of queries, to a head of keys
  int64_t vectors() const { return score == Score::gram ? 2 : 1; }  // of a query
  // A part's share of dq and of its sides: fp32 rows so long.
  int64_t partial_row() const;
};

// One call's addresses: those of the first element, offsets applied.
struct AttentionOperand {
  void* at;
  int64_t batch, row, head;
};

struct AttentionCall {
  const AttentionProblem* p;
  AttentionOperand q, k, v, o;
  const void* mask;
  const float* sides;
  float* lse;
  float* entropy;  // null: not wanted
  // Of the gradient alone.
  AttentionOperand dy, dq, dk, dv;
  float* dsides;
  // null: dq and its sides are written where they belong; else fp32 [key part][B][Hkv][rows][partial_row()],
  // a row being kVectors of padded D, then the sides.
  float* partial;
};

// A task: a head of keys, and of it some tiles of queries (forward) or of keys (backward).
struct AttentionTask {
  int64_t b, kv_head, part, first, last;
};

inline constexpr int64_t kAttentionQueries = 64;  // rows of a tile of queries
inline constexpr int64_t padded_head(int64_t D) { return (D + 15) / 16 * 16; }
inline int64_t AttentionProblem::partial_row() const {
  return vectors() * padded_head(D) + (sides.operand < 0 ? 0 : 16);
}

struct AttentionLoops {
  int64_t keys;                                              // in a tile
  size_t (*scratch)(const AttentionProblem&, int64_t keys);  // floats that a task over so many keys needs
  void (*run)(const AttentionCall&, const AttentionTask&, float* scratch);
};
AttentionLoops attention_forward(const AttentionProblem&);
AttentionLoops attention_backward(const AttentionProblem&);
// Where the score has sides; compiled apart.
AttentionLoops scored_attention_forward(const AttentionProblem&);
AttentionLoops scored_attention_backward(const AttentionProblem&);
// dq and its sides of the parts of keys together, rows [first, last) of all B Hkv rows of queries.
using AttentionJoin = void (*)(const AttentionCall&, int64_t parts, int64_t first, int64_t last);
AttentionJoin attention_join(DType);

}  // namespace attn::cpu
