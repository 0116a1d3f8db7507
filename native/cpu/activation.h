// Activations fused into products: what linear's kernels do with the rows of a block while they are in the
// caches.
#pragma once

#include <cstdint>

#include "../engine/types.h"

namespace attn::cpu {

// = src/ops/activations.ts. matmul takes the first five.
enum class Activation : uint8_t { none = 0, relu, gelu, gelu_tanh, silu, sigmoid, tanh };

// n elements of z = c, y = act(c) + residual. z has dtype `in`, y and residual have it or are float32; z and
// residual may be null, and c may be y or z. Nothing past the n elements is touched.
struct Finish {
  Activation activation;
  DType in, y, residual;
};
void finish(const Finish&, const float* c, void* z, const void* residual, void* y, int64_t n);

// rows x columns of dz = dy act'(z), and the sums of its columns, added to `sums`. z has dtype `in` and is
// null where the activation is none; dy and dz have it or are float32; dz and sums may be null.
struct Slope {
  Activation activation;
  DType in, dy, dz;
};
void slope(const Slope&, const void* dy, const void* z, void* dz, float* sums, int64_t rows, int64_t columns);

}  // namespace attn::cpu
