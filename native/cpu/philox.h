// The counter-based generator Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC11), for kernels that compile once for each instruction set (included after foreach_target.h, as vec.h
// is).
#ifndef ATTN_CPU_PHILOX_KEY
#define ATTN_CPU_PHILOX_KEY
#include <cstdint>
namespace attn::cpu {
struct PhiloxKey {
  uint32_t seed[2], offset[2];  // low word first: the key, and the upper half of the counter
};
inline constexpr int64_t kCounters = 64;  // made at a time
}  // namespace attn::cpu
#endif

#if defined(ATTN_CPU_PHILOX) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_PHILOX
#undef ATTN_CPU_PHILOX
#else
#define ATTN_CPU_PHILOX
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// Lane k of counters first .. first + kCounters into words[k].
HWY_INLINE void philox(const PhiloxKey& key, int64_t first, uint32_t (&words)[4][kCounters]) {
  for (int64_t j = 0; j < kCounters; j++) {
    const uint64_t counter = static_cast<uint64_t>(first + j);
    uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
    uint32_t c2 = key.offset[0], c3 = key.offset[1], k0 = key.seed[0], k1 = key.seed[1];
    for (int round = 0; round < 10; round++) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
      c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
      c1 = static_cast<uint32_t>(p1);
      c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
      c3 = static_cast<uint32_t>(p0);
      k0 += 0x9E3779B9u;  // the golden ratio
      k1 += 0xBB67AE85u;  // sqrt(3) - 1
    }
    words[0][j] = c0, words[1][j] = c1, words[2][j] = c2, words[3][j] = c3;
  }
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
