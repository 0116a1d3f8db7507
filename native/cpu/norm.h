// What the kernels of layer_norm and rms_norm share, forward and backward: fp32 copies of what arrives in
// halves, and their workspace. Rows have n elements; every buffer is `padded(n)` floats long, so that whole
// vectors may be moved at its end.
#pragma once

#include <cstdint>

#include "kernel.h"

namespace attn::cpu {

inline constexpr int64_t kNormPad = 64;
inline int64_t padded(int64_t n) { return (n + kNormPad - 1) / kNormPad * kNormPad; }

// Workspace of the calling thread, 64-byte aligned, as large as its largest user needed; valid until the next
// call.
float* norm_scratch(int64_t floats);

// A vector of n parameters as fp32: in place where it is that and whole vectors long, else in `buffer` (zeros
// in the pad); `fallback` in every element where there is none.
const float* norm_parameter(const void* given, DType dtype, int64_t n, float fallback, float* buffer);

// Parts that the rows of a problem are cut into: one a thread where there is work for it.
int64_t norm_parts(int64_t rows, int64_t n);

// Outputs of so many bytes are stored past the caches: they would only evict what the rows come from.
inline constexpr int64_t kNormPastCaches = 8 << 20;

}  // namespace attn::cpu
