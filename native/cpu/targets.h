// The instruction sets that vector kernels are compiled for: SSE4 at least, AVX2 and AVX-512 where the CPU
// has them (x86-64), Highway's own choice elsewhere. Comes before any header of Highway's; see vec.h.
#pragma once

#if defined(__x86_64__)
#define HWY_BASELINE_TARGETS HWY_SSE4
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#endif
