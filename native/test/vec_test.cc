// Loads and stores of every element type, on every instruction set that this CPU has.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "test/vec_test.cc"
#include "cpu/targets.h"
//
#include <hwy/foreach_target.h>
//
#include "cpu/vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// Counts the 16-bit patterns whose vector load differs from the scalar one, and the float32 values (every
// exponent, mantissas around the rounding points) whose vector store does. NaNs count as equal to each other.
template <class T>
int64_t mismatches() {
  const size_t lanes = hn::Lanes(F32());
  int64_t bad = 0;
  T in[HWY_MAX_BYTES / 4], narrowed[HWY_MAX_BYTES / 4];
  float wide[HWY_MAX_BYTES / 4];
  for (uint32_t first = 0; first < 0x10000; first += lanes) {
    for (size_t i = 0; i < lanes; i++) in[i].bits = static_cast<uint16_t>(first + i);
    store(load(in), wide);
    for (size_t i = 0; i < lanes; i++) {
      const float want = to_f32(in[i]);
      bad += std::bit_cast<uint32_t>(wide[i]) != std::bit_cast<uint32_t>(want) && want == want;
      bad += want != want && wide[i] == wide[i];
    }
  }
  for (uint64_t first = 0; first < 0x100000000u; first += 0x3ff * lanes) {
    for (size_t i = 0; i < lanes; i++)
      wide[i] = std::bit_cast<float>(static_cast<uint32_t>(first + 0x3ff * i));
    store(load(wide), narrowed);
    for (size_t i = 0; i < lanes; i++) {
      const T want = from_f32<T>(wide[i]);
      bad += wide[i] == wide[i] ? narrowed[i].bits != want.bits : to_f32(narrowed[i]) == to_f32(narrowed[i]);
    }
    T part[HWY_MAX_BYTES / 4] = {};
    store_n(load_n(wide, lanes - 1), part, lanes - 1);
    bad += part[0].bits != narrowed[0].bits || part[lanes - 1].bits != 0;
  }
  return bad;
}

int64_t half_mismatches() { return mismatches<Half>(); }
int64_t bfloat_mismatches() { return mismatches<BFloat>(); }

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <doctest/doctest.h>

#include <cmath>

namespace attn::cpu {
HWY_EXPORT(half_mismatches);
HWY_EXPORT(bfloat_mismatches);
}  // namespace attn::cpu

TEST_CASE("vectors of halves load and store as the scalar conversions do") {
  using namespace attn::cpu;
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t left = HWY_TARGETS & supported; left; left &= left - 1) {
    const int64_t target = left & -left;
    CAPTURE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    CHECK(HWY_DYNAMIC_DISPATCH(half_mismatches)() == 0);
    CHECK(HWY_DYNAMIC_DISPATCH(bfloat_mismatches)() == 0);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

TEST_CASE("scalar conversions round to nearest even") {
  using namespace attn::cpu;
  CHECK(from_f32<Half>(65519.f).bits == 0x7bff);
  CHECK(from_f32<Half>(65520.f).bits == 0x7c00);
  CHECK(from_f32<Half>(0x1p-25f).bits == 0);  // halfway to the smallest subnormal: even is 0
  CHECK(from_f32<Half>(0x1.8p-25f).bits == 1);
  CHECK(from_f32<Half>(-0.f).bits == 0x8000);
  CHECK(from_f32<Half>(1.f + 0x1p-11f).bits == 0x3c00);
  CHECK(from_f32<Half>(1.f + 0x3p-11f).bits == 0x3c02);
  CHECK(to_f32(Half{1}) == 0x1p-24f);
  CHECK(std::isnan(to_f32(from_f32<Half>(NAN))));
  CHECK(from_f32<BFloat>(1.f + 0x1p-8f).bits == 0x3f80);
  CHECK(from_f32<BFloat>(1.f + 0x3p-8f).bits == 0x3f82);
  CHECK(std::isnan(to_f32(from_f32<BFloat>(std::bit_cast<float>(0x7f800001u)))));
}
#endif
