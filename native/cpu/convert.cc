#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/convert.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "cpu/convert.h"
#include "cpu/element.h"
#include "cpu/team.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// bfloat16 is the upper half of a float.
void WidenBf16(const uint16_t* in, float* out, int64_t n) {
  const hn::ScalableTag<uint32_t> d;
  const hn::Rebind<uint16_t, decltype(d)> half;
  const int64_t lanes = hn::Lanes(d);
  auto* words = reinterpret_cast<uint32_t*>(out);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes)
    hn::StoreU(hn::ShiftLeft<16>(hn::PromoteTo(d, hn::LoadU(half, in + i))), d, words + i);
  for (; i < n; ++i) words[i] = static_cast<uint32_t>(in[i]) << 16;
}

// Adds half of the last kept place less one, plus that place's own bit: nearest, ties to even.
void NarrowBf16(const float* in, uint16_t* out, int64_t n) {
  const hn::ScalableTag<uint32_t> d;
  const hn::Rebind<uint16_t, decltype(d)> half;
  const int64_t lanes = hn::Lanes(d);
  const auto* words = reinterpret_cast<const uint32_t*>(in);
  const auto below = hn::Set(d, 0x7fff), one = hn::Set(d, 1), quiet = hn::Set(d, 0x40);
  const auto magnitude = hn::Set(d, 0x7fffffff), infinity = hn::Set(d, 0x7f800000);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto u = hn::LoadU(d, words + i);
    const auto top = hn::ShiftRight<16>(u);
    const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(below, hn::And(top, one))));
    const auto nan = hn::Gt(hn::And(u, magnitude), infinity);
    const auto bits = hn::IfThenElse(nan, hn::Or(top, quiet), rounded);
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(hn::RebindToSigned<decltype(d)>(), bits)), half, out + i);
  }
  for (; i < n; ++i) out[i] = from_f32<BFloat>(in[i]).bits;
}

void WidenF16(const uint16_t* in, float* out, int64_t n) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  const int64_t lanes = hn::Lanes(d);
  const auto* halves = reinterpret_cast<const hwy::float16_t*>(in);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::PromoteTo(d, hn::LoadU(half, halves + i)), d, out + i);
  if (i == n) return;
  HWY_ALIGN uint16_t last[HWY_MAX_BYTES / 4] = {};
  HWY_ALIGN float wide[HWY_MAX_BYTES / 4];
  std::copy(in + i, in + n, last);
  hn::Store(hn::PromoteTo(d, hn::Load(half, reinterpret_cast<const hwy::float16_t*>(last))), d, wide);
  std::copy(wide, wide + (n - i), out + i);
}

void NarrowF16(const float* in, uint16_t* out, int64_t n) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> half;
  const int64_t lanes = hn::Lanes(d);
  auto* halves = reinterpret_cast<hwy::float16_t*>(out);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, in + i)), half, halves + i);
  if (i == n) return;
  HWY_ALIGN float wide[HWY_MAX_BYTES / 4] = {};
  HWY_ALIGN uint16_t last[HWY_MAX_BYTES / 4];
  std::copy(in + i, in + n, wide);
  hn::Store(hn::DemoteTo(half, hn::Load(d, wide)), half, reinterpret_cast<hwy::float16_t*>(last));
  std::copy(last, last + (n - i), out + i);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(WidenBf16);
HWY_EXPORT(NarrowBf16);
HWY_EXPORT(WidenF16);
HWY_EXPORT(NarrowF16);

namespace {
constexpr int64_t kGrain = 1 << 14, kLine = 32;  // a cache line of halves
}

void halves_to_float(DType from, const void* in, float* out, int64_t n) {
  const auto* halves = static_cast<const uint16_t*>(in);
  parallel_for(
      n, kGrain,
      [&](int64_t begin, int64_t end) {
        if (from == DType::f16)
          HWY_DYNAMIC_DISPATCH(WidenF16)(halves + begin, out + begin, end - begin);
        else
          HWY_DYNAMIC_DISPATCH(WidenBf16)(halves + begin, out + begin, end - begin);
      },
      kLine);
}

void float_to_halves(DType to, const float* in, void* out, int64_t n) {
  auto* halves = static_cast<uint16_t*>(out);
  parallel_for(
      n, kGrain,
      [&](int64_t begin, int64_t end) {
        if (to == DType::f16)
          HWY_DYNAMIC_DISPATCH(NarrowF16)(in + begin, halves + begin, end - begin);
        else
          HWY_DYNAMIC_DISPATCH(NarrowBf16)(in + begin, halves + begin, end - begin);
      },
      kLine);
}

}  // namespace attn::cpu
#endif
