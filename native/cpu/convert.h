// Whole arrays between a half dtype and fp32, on the team: for kernels that compute in fp32 only.
#pragma once

#include <cstdint>

#include "../engine/types.h"

namespace attn::cpu {

// `from` is float16 or bfloat16.
void halves_to_float(DType from, const void* in, float* out, int64_t n);
// Rounds to nearest even; NaN stays NaN.
void float_to_halves(DType to, const float* in, void* out, int64_t n);

}  // namespace attn::cpu
