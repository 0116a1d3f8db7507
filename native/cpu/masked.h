// The first lanes of vectors that lie anywhere, for loops too short for load_n's way through memory.
#if defined(ATTN_CPU_MASKED) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_MASKED
#undef ATTN_CPU_MASKED
#else
#define ATTN_CPU_MASKED
#endif

#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// The first n <= lanes floats at p, zeros in the other lanes. Without masks that reach memory (SSE4, NEON)
// Highway's MaskedLoad reads a whole vector, which must be aligned on SSE4 and may end beyond the operand.
HWY_INLINE VF load_first(const float* p, size_t n) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  return hn::MaskedLoad(hn::FirstN(F32(), n), F32(), p);
#else
  return n == hn::Lanes(F32()) ? hn::LoadU(F32(), p) : load_n(p, n);
#endif
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
