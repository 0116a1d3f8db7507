// Linear attention on the CPU: the problem, and the loops that linear_attention_forward.cc and
// linear_attention_backward.cc compile for each instruction set. linear_attention.cc cuts the work for the
// team.
//
//   S_t = diag(exp(decay_t)) S_{t-1} + k_t v_tᵀ        o_t = S_tᵀ q_t
//
// Tokens go in chunks: within one, o comes of the lower triangle of a small matrix of products of queries and
// keys; from chunk to chunk the state S [Dk, Dv] is carried. A product of decays is made of factors
// exp(decay) alone, never of a quotient, so that none overflows however strong the decay is.
#pragma once

#include "kernel.h"

namespace attn::cpu {

// Short chunks mean few products within them, long ones few passes over the state. A chunk of 16 fills the
// lanes of AVX-512 with tokens.
inline constexpr int64_t kLinearChunk = 16;

struct LinearProblem {
  DType dtype;
  int64_t B, T, H, Dk, Dv;
  bool state, decay;  // whether they are given

  explicit LinearProblem(Attrs&);  // the order in which src/ops/linear-attention.common.ts packs them
  int64_t heads() const { return B * H; }
};

// One call's addresses: q, k and their gradients are [B, T, H, Dk], v, o and theirs [B, T, H, Dv], the states
// fp32 [B, H, Dk, Dv].
struct LinearCall {
  const LinearProblem* p;
  const void *q, *k, *v;
  const float *state, *decay;  // null: none
  void* o;
  float* final;
  // Of the gradient alone.
  const void* dy;
  const float* dfinal;
  void *dq, *dk, *dv;
  float *dstate, *ddecay;  // null: not given
};

// Tokens [first, last) of one head of the batch.
struct LinearSpan {
  int64_t head, first, last;
};

// A state in memory, `row` floats between its rows; null is 0.
struct LinearState {
  float* at;
  int64_t row;
};

struct LinearForward {
  size_t (*scratch)(const LinearProblem&, int64_t tokens);
  // Outputs of the span, from the state before it; the state after it goes to `end` where that is not null.
  void (*run)(const LinearCall&, const LinearSpan&, LinearState before, LinearState end, float* scratch);
  // What the span adds to the state, in `end`, and the product of its decays.
  void (*advance)(const LinearCall&, const LinearSpan&, LinearState end, float* decays, float* scratch);
};
struct LinearBackward {
  size_t (*scratch)(const LinearProblem&, int64_t tokens);
  // Gradients of the span, from the state before it and the gradient of the state after it; that of the state
  // before it goes to `end`.
  void (*run)(const LinearCall&, const LinearSpan&, LinearState before, LinearState dafter, LinearState end,
              float* scratch);
  // What the span adds to the gradient of the state before it.
  void (*retreat)(const LinearCall&, const LinearSpan&, LinearState end, float* scratch);
};
LinearForward linear_forward(const LinearProblem&);
LinearBackward linear_backward(const LinearProblem&);

}  // namespace attn::cpu
