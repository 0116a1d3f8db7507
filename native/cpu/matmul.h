// The problem that matmul's CPU kernels share: out = act(a b + bias), batched.
#pragma once

#include <vector>

#include "activation.h"
#include "kernel.h"

namespace attn::cpu {

struct MatmulProblem {
  DType in, out;
  Activation activation;
  bool bias;
  int64_t m, n, k;
  bool transpose_a, transpose_b;       // a is stored [K, M], b [N, K]
  std::vector<int64_t> batch;          // batch dimensions of the output
  std::vector<bool> a_moves, b_moves;  // false: the operand is stretched along that dimension

  explicit MatmulProblem(Attrs&);  // the order in which src/ops/matmul.ts packs them
  int64_t batches() const;
};

float activate(Activation, float x);

// Workspace of the calling thread, as large as its largest user needed; valid until the next call for the
// same use.
enum class Scratch : uint8_t { widened, packed, blocks };
float* matmul_scratch(Scratch, size_t floats);

// Problems so small that oneDNN's call costs more than the arithmetic: one thread, no packing of a.
bool suits_small_matmul(const MatmulProblem&);
Kernel make_small_matmul(const MatmulProblem&);

}  // namespace attn::cpu
