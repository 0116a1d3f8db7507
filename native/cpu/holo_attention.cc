// holo_attention {dtype, B, T, H, R, F, decay, keep, state}: with u = k / |k| and w = q / |q|, S = α S + u v,
// n = α² n + 1, o = mean over copies of conj(w) S / √n. in: qkv, decay?, keep?, state?; out: o, the last
// state, and the states before every kHoloChunk-th token.
#include "holo_attention.h"

#ifndef ATTN_CPU_HOLO_ATTENTION
#define ATTN_CPU_HOLO_ATTENTION
namespace attn::cpu {
struct HoloForward {
  const HoloShape* shape;
  const HoloBlock *blocks, *end;  // of the task
  const void* qkv;                // of the task's batch, as all that follows
  const float* decay;
  const uint8_t* keep;
  const float* state;
  void* o;
  float *last, *starts;
  float* scratch;  // the blocks' states
  int64_t ahead;   // tokens between what is asked for and what is read
};
using HoloForwardLoop = void (*)(const HoloForward&);
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/holo_attention.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "holo_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// One token of one block.
template <class T, bool kDecay>
HWY_INLINE void holo_step(const HoloForward& p, const HoloBlock& b, int64_t t, bool kept, float* state) {
  const F32 d;
  const HoloShape& s = *p.shape;
  const T* row = static_cast<const T*>(p.qkv) + t * s.row();
  T* o = static_cast<T*>(p.o) + t * s.H * 2 * s.F + b.o;
  const VF share = hn::Set(d, 1.0f / static_cast<float>(s.R)), one = hn::Set(d, 1.0f);
  const T* later = row + p.ahead * s.row();
  prefetch_pair(later + b.v, s.F);
  for (int64_t r = 0; r < s.R; r++) {
    prefetch_pair(later + b.k + 2 * r * s.F, s.F);
    prefetch_pair(later + b.q + 2 * r * s.F, s.F);
  }
  if constexpr (kDecay) hwy::Prefetch(p.decay + (t + p.ahead) * s.H * s.F + b.decay);
  each_vector(b.lanes, [&]<bool kWhole>(int64_t i, size_t lanes) HWY_ATTR {
    float* own = state + i;
    float* count = own + 2 * s.R * kHoloBlock;
    VF n = load(count), alpha = one;
    Complex v{};
    if (kept) {
      v = get_pair<kWhole>(row + b.v + i, s.F, lanes);
      if constexpr (kDecay) alpha = exp_below_0(get<kWhole>(p.decay + t * s.H * s.F + b.decay + i, lanes));
      n = hn::MulAdd(hn::Mul(alpha, alpha), n, one);
      store(n, count);
    }
    Complex sum{hn::Zero(d), hn::Zero(d)};
    for (int64_t r = 0; r < s.R; r++) {
      Complex S = state_pair(own, r);
      if (kept) {
        const Complex k = get_pair<kWhole>(row + b.k + 2 * r * s.F + i, s.F, lanes);
        const Complex bound = scaled(times(k, v), inverse_root(square_of(k)));
        S = kDecay ? scaled_plus(S, alpha, bound) : plus(S, bound);
        set_state_pair(S, own, r);
      }
      const Complex q = get_pair<kWhole>(row + b.q + 2 * r * s.F + i, s.F, lanes);
      sum = scaled_plus(conj_times(q, S), inverse_root(hn::Mul(n, square_of(q))), sum);
    }
    // Before the first token that is kept nothing has been bound: n is 0, and so is what is read.
    const auto empty = hn::Le(n, hn::Zero(d));
    const auto out = [&](VF x) HWY_ATTR { return hn::IfThenZeroElse(empty, hn::Mul(x, share)); };
    set_pair<kWhole>({out(sum.re), out(sum.im)}, o + i, s.F, lanes);
  });
}

template <class T, bool kDecay>
void holo_forward(const HoloForward& p) {
  const HoloShape& s = *p.shape;
  const int64_t pitch = s.block_state();
  const auto each = [&](auto&& fn) {
    float* state = p.scratch;
    for (const HoloBlock* b = p.blocks; b < p.end; b++, state += pitch) fn(*b, state);
  };
  each([&](const HoloBlock& b, float* state) { holo_load_state(s, b, p.state, state); });
  for (int64_t t = 0; t < s.T; t++) {
    if (t % kHoloChunk == 0) {
      float* start = p.starts + t / kHoloChunk * s.H * s.head_state();
      each([&](const HoloBlock& b, float* state) { holo_store_state(s, b, state, start); });
    }
    const bool kept = !p.keep || p.keep[t] != 0;
    each([&](const HoloBlock& b, float* state) { holo_step<T, kDecay>(p, b, t, kept, state); });
  }
  each([&](const HoloBlock& b, float* state) { holo_store_state(s, b, state, p.last); });
}

HoloForwardLoop choose_holo(const HoloShape& s) {
  return with_float(s.dtype, [&](auto t) -> HoloForwardLoop {
    using T = decltype(t);
    return s.decay ? holo_forward<T, true> : holo_forward<T, false>;
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_holo);

namespace {

struct HoloForwardScratch {};

Kernel make_holo_attention(Attrs& attrs) {
  const HoloShape s(attrs);
  const HoloForwardLoop loop = HWY_DYNAMIC_DISPATCH(choose_holo)(s);
  const auto element = static_cast<int64_t>(size_of(s.dtype));
  return [=, blocks = holo_blocks(s)](const Operands& args) {
    constexpr int64_t kMost = 64;  // blocks of a task: what a token's rows hold of them, and their states
    holo_tasks(s, kMost, [&](int64_t b, int64_t first, int64_t end) {
      const int64_t state = s.H * s.head_state();
      HoloForward p{};
      p.shape = &s;
      p.blocks = blocks.data() + first, p.end = blocks.data() + end;
      p.qkv = static_cast<const char*>(args.in[0]) + b * s.T * s.row() * element;
      if (s.decay) p.decay = static_cast<const float*>(args.in[1]) + b * s.T * s.H * s.F;
      if (s.keep) p.keep = static_cast<const uint8_t*>(args.in[2]) + b * s.T;
      if (s.state) p.state = static_cast<const float*>(args.in[3]) + b * state;
      p.o = static_cast<char*>(args.out[0]) + b * s.T * s.H * 2 * s.F * element;
      p.last = static_cast<float*>(args.out[1]) + b * state;
      p.starts = static_cast<float*>(args.out[2]) + b * s.chunks() * state;
      p.ahead = std::max<int64_t>(1, kHoloAhead / (end - first));
      p.scratch = scratch<HoloForwardScratch, float>(static_cast<size_t>((end - first) * s.block_state()));
      loop(p);
    });
  };
}

ATTN_CPU_KERNEL(holo_attention, make_holo_attention);

}  // namespace
}  // namespace attn::cpu
#endif
