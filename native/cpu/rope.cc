// rope {dtype, tokens, length, heads, channels, turned, rotary, places, mode, interleaved, inverse}: pairs of
// the first `rotary` channels of the first `turned` heads turned, (a, b) -> (a cos - b sin, b cos + a sin),
// by a row of the table of (cos, sin); the rest is copied. Mode: the row is the token's place,
// positions[place], or positions[token].
#include <algorithm>
#include <cstring>

#include "index.h"
#include "kernel.h"
#include "team.h"

#ifndef ATTN_CPU_ROPE
#define ATTN_CPU_ROPE
namespace attn::cpu {
struct RopeToken {
  int64_t channels, turned, rotary;
  bool interleaved, inverse;
};
// One token's heads from x to y, by one row of the table.
using RopeLoop = void (*)(const RopeToken& shape, const void* x, const float* row, void* y);
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rope.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// Pairs (i, i + half): a vector of cosines and one of sines serve all heads.
template <class T>
void turn_halves(const RopeToken& s, const T* x, const float* row, T* y) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d)), half = s.rotary / 2;
  for (int64_t i = 0; i < half; i += N) {
    const auto lanes = static_cast<size_t>(std::min(N, half - i));
    HWY_ALIGN float part[2 * HWY_MAX_BYTES / 4] = {};
    const bool whole = lanes == hn::Lanes(d);
    if (!whole) std::copy_n(row + 2 * i, 2 * lanes, part);
    VF cosine, sine;
    hn::LoadInterleaved2(d, whole ? row + 2 * i : part, cosine, sine);
    if (s.inverse) sine = hn::Neg(sine);
    for (int64_t h = 0; h < s.turned; h++) {
      const int64_t at = h * s.channels + i;
      const VF a = whole ? load(x + at) : load_n(x + at, lanes);
      const VF b = whole ? load(x + at + half) : load_n(x + at + half, lanes);
      const VF u = hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), v = hn::MulAdd(a, sine, hn::Mul(b, cosine));
      if (whole) {
        store(u, y + at), store(v, y + at + half);
      } else {
        store_n(u, y + at, lanes), store_n(v, y + at + half, lanes);
      }
    }
  }
}

// Pairs (2 i, 2 i + 1): x (cos, cos) + (b, a) (-sin, sin).
template <class T>
void turn_neighbours(const RopeToken& s, const T* x, const float* row, T* y) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < s.rotary; i += N) {
    const auto lanes = static_cast<size_t>(std::min(N, s.rotary - i));
    const bool whole = lanes == hn::Lanes(d);
    const VF pairs = whole ? load(row + i) : load_n(row + i, lanes);
    const VF cosine = hn::DupEven(pairs), sin = hn::DupOdd(pairs);
    const VF sine = s.inverse ? hn::OddEven(hn::Neg(sin), sin) : hn::OddEven(sin, hn::Neg(sin));
    for (int64_t h = 0; h < s.turned; h++) {
      const int64_t at = h * s.channels + i;
      const VF v = whole ? load(x + at) : load_n(x + at, lanes);
      const VF turned = hn::MulAdd(hn::Reverse2(d, v), sine, hn::Mul(v, cosine));
      if (whole)
        store(turned, y + at);
      else
        store_n(turned, y + at, lanes);
    }
  }
}

template <class T>
void turn_token(const RopeToken& s, const void* from, const float* row, void* to) {
  const T* x = static_cast<const T*>(from);
  T* y = static_cast<T*>(to);
  s.interleaved ? turn_neighbours(s, x, row, y) : turn_halves(s, x, row, y);
  if (s.rotary < s.channels)
    for (int64_t h = 0; h < s.turned; h++)
      std::copy(x + h * s.channels + s.rotary, x + (h + 1) * s.channels, y + h * s.channels + s.rotary);
}

RopeLoop choose_rope(DType t) {
  return with_float(t, [](auto element) -> RopeLoop { return turn_token<decltype(element)>; });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(choose_rope);

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

enum Mode { kNone, kShared, kOwn };

Kernel make_rope(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t tokens = attrs.i(), length = attrs.i(), heads = attrs.i();
  RopeToken s;
  s.channels = attrs.i(), s.turned = attrs.i(), s.rotary = attrs.i();
  const int64_t places = attrs.i();
  const Mode mode = static_cast<Mode>(attrs.i());
  s.interleaved = attrs.b(), s.inverse = attrs.b();
  const RopeLoop loop = HWY_DYNAMIC_DISPATCH(choose_rope)(dtype);
  const auto element = static_cast<int64_t>(size_of(dtype));
  const int64_t bytes = heads * s.channels * element, copied = (heads - s.turned) * s.channels * element;
  if (tokens * bytes == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    const float* table = static_cast<const float*>(args.in[1]);
    const int32_t* positions = mode == kNone ? nullptr : static_cast<const int32_t*>(args.in[2]);
    BadIndex bad;
    parallel_for(tokens, std::max<int64_t>(1, kGrain * element / bytes), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; t++) {
        const char* x = static_cast<const char*>(args.in[0]) + t * bytes;
        char* y = static_cast<char*>(args.out[0]) + t * bytes;
        const int64_t at = mode == kOwn ? t : t % length, place = mode == kNone ? at : positions[at];
        if (outside(place, places)) {
          bad.at(at);
          std::memset(y, 0, static_cast<size_t>(bytes));
          continue;
        }
        loop(s, x, table + place * s.rotary, y);
        if (copied > 0) std::memcpy(y + bytes - copied, x + bytes - copied, static_cast<size_t>(copied));
      }
    });
    bad.raise(positions, places, "position", "a table of angles");
  };
}

ATTN_CPU_KERNEL(rope, make_rope);

}  // namespace
}  // namespace attn::cpu
#endif
