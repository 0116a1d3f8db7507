// dropout {dtype, elements, threshold, scale}: x scale where the upper 24 bits of its random word reach the
// threshold, else 0. Element i has lane i % 4 of counter i / 4 of the generator that `state` {key, upper half
// of the counter} names.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/dropout.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "map.h"
#include "philox.h"
#include "vec.h"

#ifndef ATTN_CPU_DROPOUT
#define ATTN_CPU_DROPOUT
namespace attn::cpu {
struct Dropped {
  PhiloxKey key;
  uint32_t threshold;
  float scale;
};
// Elements [begin, end); begin is a multiple of kMapAlign.
using DropoutLoop = void (*)(const Dropped& d, const void* x, void* y, int64_t begin, int64_t end);
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <class T>
void dropout_loop(const Dropped& dropped, const void* in, void* out, int64_t begin, int64_t end) {
  const F32 d;
  const U32 du;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const T* x = static_cast<const T*>(in);
  T* y = static_cast<T*>(out);
  uint32_t words[4][kCounters];
  HWY_ALIGN uint32_t in_order[4 * kCounters];
  const I32 di;
  const VI below = hn::Set(di, static_cast<int32_t>(dropped.threshold) - 1);
  const VF scale = hn::Set(d, dropped.scale);
  for (int64_t i = begin; i < end; i += 4 * kCounters) {
    philox(dropped.key, i / 4, words);
    for (int64_t j = 0; j < kCounters; j += N)
      hn::StoreInterleaved4(hn::LoadU(du, &words[0][j]), hn::LoadU(du, &words[1][j]),
                            hn::LoadU(du, &words[2][j]), hn::LoadU(du, &words[3][j]), du, in_order + 4 * j);
    const auto value = [&](VF v, int64_t j) HWY_ATTR {
      const VI fraction = hn::BitCast(di, hn::ShiftRight<8>(hn::Load(du, in_order + j)));
      const auto kept = hn::Gt(fraction, below);
      return hn::IfThenElseZero(hn::RebindMask(d, kept), hn::Mul(v, scale));
    };
    const int64_t some = std::min<int64_t>(4 * kCounters, end - i);
    int64_t j = 0;
    for (; j + N <= some; j += N) store(value(load(x + i + j), j), y + i + j);
    if (j < some) {
      const auto rest = static_cast<size_t>(some - j);
      store_n(value(load_n(x + i + j, rest), j), y + i + j, rest);
    }
  }
}

DropoutLoop choose_dropout(DType t) {
  return with_float(t, [](auto element) -> DropoutLoop { return dropout_loop<decltype(element)>; });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_dropout);

static Kernel make_dropout(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t n = attrs.i();
  Dropped dropped{{}, static_cast<uint32_t>(attrs.i()), 0};
  dropped.scale = static_cast<float>(attrs.f());
  if (dropped.threshold == 0) {
    const auto bytes = static_cast<size_t>(n) * size_of(dtype);
    return [=](const Operands& o) { std::memcpy(o.out[0], o.in[0], bytes); };
  }
  const DropoutLoop loop = HWY_DYNAMIC_DISPATCH(choose_dropout)(dtype);
  return [=](const Operands& o) mutable {
    const auto* state = static_cast<const uint32_t*>(o.in[1]);
    dropped.key = {{state[0], state[1]}, {state[2], state[3]}};
    parallel_for(
        n, kSpecialGrain, [&](int64_t begin, int64_t end) { loop(dropped, o.in[0], o.out[0], begin, end); },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(dropout, make_dropout);
}  // namespace attn::cpu
#endif
