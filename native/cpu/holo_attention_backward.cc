// holo_attention_backward {dtype, B, T, H, R, F, decay, keep, dstate}: gradients of holo_attention. in: dy,
// qkv, starts, dstate?, decay?, keep?; out: dqkv, ddecay (of size 0 without decay), dstate of the first
// state.
//
// Chunk by chunk, the last first: the states before each of its tokens are made again from that at its start,
// then the tokens are taken backwards with the gradients A and N of S and n.
#include "holo_attention.h"

#ifndef ATTN_CPU_HOLO_ATTENTION_BACKWARD
#define ATTN_CPU_HOLO_ATTENTION_BACKWARD
namespace attn::cpu {
struct HoloBackward {
  const HoloShape* shape;
  const HoloBlock *blocks, *end;  // of the task
  const void *dy, *qkv;           // of the task's batch, as all that follows
  const float *starts, *dstate, *decay;
  const uint8_t* keep;
  void* dqkv;
  float *ddecay, *first;
  float *states, *grads;  // scratch: of each block, its state now and (A, N)
  float* before;          // and its states before each token of a chunk
  int64_t ahead;          // tokens between what is asked for and what is read
};
using HoloBackwardLoop = void (*)(const HoloBackward&);
}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/holo_attention_backward.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "holo_vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <class T, bool kDecay>
struct HoloBack {
  const HoloBackward& p;
  const HoloShape& s = *p.shape;

  const T* row(int64_t t) const { return static_cast<const T*>(p.qkv) + t * s.row(); }
  HWY_INLINE VF alpha_at(const HoloBlock& b, int64_t t, int64_t i, size_t lanes, bool whole) const {
    if constexpr (!kDecay) return hn::Set(F32(), 1.0f);
    const float* at = p.decay + t * s.H * s.F + b.decay + i;
    return exp_below_0(whole ? load(at) : load_n(at, lanes));
  }

  // Leaves the state before token t of a block at `before` and moves it past the token.
  void advance(const HoloBlock& b, int64_t t, bool kept, float* state, float* before) const {
    std::copy_n(state, s.block_state(), before);
    const T* later = row(t + p.ahead);
    for (int64_t r = 0; r < s.R; r++) {
      prefetch_pair(later + b.k + 2 * r * s.F, s.F);
      prefetch_pair(later + b.q + 2 * r * s.F, s.F);
    }
    prefetch_pair(later + b.v, s.F);
    prefetch_pair(static_cast<const T*>(p.dy) + (t + p.ahead) * s.H * 2 * s.F + b.o, s.F);
    if constexpr (kDecay) hwy::Prefetch(p.decay + (t + p.ahead) * s.H * s.F + b.decay);
    if (!kept) return;
    each_vector(b.lanes, [&]<bool kWhole>(int64_t i, size_t lanes) HWY_ATTR {
      const VF alpha = alpha_at(b, t, i, lanes, kWhole);
      const Complex v = get_pair<kWhole>(row(t) + b.v + i, s.F, lanes);
      for (int64_t r = 0; r < s.R; r++) {
        const Complex k = get_pair<kWhole>(row(t) + b.k + 2 * r * s.F + i, s.F, lanes);
        const Complex bound = scaled(times(k, v), inverse_root(square_of(k)));
        set_state_pair(scaled_plus(state_pair(state + i, r), alpha, bound), state + i, r);
      }
      float* n = state + 2 * s.R * kHoloBlock + i;
      store(hn::MulAdd(hn::Mul(alpha, alpha), load(n), hn::Set(F32(), 1.0f)), n);
    });
  }

  // Token t of a block: its gradients, and (A, N) moved to before it.
  void retreat(const HoloBlock& b, int64_t t, bool kept, const float* before, float* grads) const {
    const F32 d;
    const VF zero = hn::Zero(d), one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
    const VF share = hn::Set(d, 1.0f / static_cast<float>(s.R));
    const T* dy = static_cast<const T*>(p.dy) + t * s.H * 2 * s.F + b.o;
    T* dq = static_cast<T*>(p.dqkv) + t * s.row();
    if (t >= p.ahead) {
      const T* later = dq - p.ahead * s.row();
      for (int64_t r = 0; r < s.R; r++) {
        prefetch_own(later + b.k + 2 * r * s.F, s.F);
        prefetch_own(later + b.q + 2 * r * s.F, s.F);
      }
      prefetch_own(later + b.v, s.F);
    }
    each_vector(b.lanes, [&]<bool kWhole>(int64_t i, size_t lanes) HWY_ATTR {
      const int64_t count = 2 * s.R * kHoloBlock + i;
      const VF past = load(before + count);
      const VF alpha = kept ? alpha_at(b, t, i, lanes, kWhole) : one, square = hn::Mul(alpha, alpha);
      const VF n = kept ? hn::MulAdd(square, past, one) : past;
      const VF inverse = hn::IfThenZeroElse(hn::Le(n, zero), hn::Div(one, n)), root = hn::Sqrt(inverse);
      const Complex g = scaled(get_pair<kWhole>(dy + i, s.F, lanes), hn::Mul(share, root));
      const Complex v = get_pair<kWhole>(row(t) + b.v + i, s.F, lanes);
      Complex dv{zero, zero};
      VF read = zero, along = zero;
      for (int64_t r = 0; r < s.R; r++) {
        const int64_t at = 2 * r * s.F + i;
        const Phasor query = phasor_of(get_pair<kWhole>(row(t) + b.q + at, s.F, lanes));
        const Complex S = state_pair(before + i, r);
        Complex A = plus(state_pair(grads + i, r), times(g, query.u)), now = S;
        if (kept) {
          const Phasor key = phasor_of(get_pair<kWhole>(row(t) + b.k + at, s.F, lanes));
          now = scaled_plus(S, alpha, times(key.u, v));
          const Complex du = conj_times(v, A);
          set_pair<kWhole>(back(key, du, inner(key.u, du)), dq + b.k + at, s.F, lanes);
          dv = plus(dv, conj_times(key.u, A));
          along = hn::Add(along, inner(A, S));
          A = scaled(A, alpha);
        } else {
          set_pair<kWhole>({zero, zero}, dq + b.k + at, s.F, lanes);
        }
        set_state_pair(A, grads + i, r);
        const Complex dw = conj_times(g, now);
        const VF parallel = inner(query.u, dw);
        set_pair<kWhole>(back(query, dw, parallel), dq + b.q + at, s.F, lanes);
        read = hn::Add(read, parallel);
      }
      set_pair<kWhole>(dv, dq + b.v + i, s.F, lanes);
      const VF N = hn::NegMulAdd(hn::Mul(half, read), inverse, load(grads + count)),
               less = hn::Mul(square, N);
      store(less, grads + count);
      if constexpr (kDecay) {
        const VF twice = hn::Mul(hn::Add(past, past), less);
        set<kWhole>(kept ? hn::MulAdd(along, alpha, twice) : zero, p.ddecay + t * s.H * s.F + b.decay + i,
                    lanes);
      }
    });
  }

  void run() const {
    const int64_t pitch = s.block_state(), n = p.end - p.blocks;
    const auto each = [&](auto&& fn) {
      for (int64_t j = 0; j < n; j++) fn(p.blocks[j], p.states + j * pitch, p.grads + j * pitch, j);
    };
    each([&](const HoloBlock& b, float*, float* grads, int64_t) { holo_load_state(s, b, p.dstate, grads); });
    for (int64_t chunk = s.chunks() - 1; chunk >= 0; chunk--) {
      const int64_t from = chunk * kHoloChunk, to = std::min(s.T, from + kHoloChunk);
      const float* start = p.starts + chunk * s.H * s.head_state();
      const auto kept = [&](int64_t t) { return !p.keep || p.keep[t] != 0; };
      const auto before = [&](int64_t t, int64_t j) { return p.before + ((t - from) * n + j) * pitch; };
      each([&](const HoloBlock& b, float* state, float*, int64_t) { holo_load_state(s, b, start, state); });
      for (int64_t t = from; t < to; t++)
        each([&](const HoloBlock& b, float* state, float*, int64_t j) {
          advance(b, t, kept(t), state, before(t, j));
        });
      for (int64_t t = to - 1; t >= from; t--)
        each([&](const HoloBlock& b, float*, float* grads, int64_t j) {
          retreat(b, t, kept(t), before(t, j), grads);
        });
    }
    each([&](const HoloBlock& b, float*, float* grads, int64_t) { holo_store_state(s, b, grads, p.first); });
  }
};

template <class T, bool kDecay>
void holo_backward(const HoloBackward& p) {
  HoloBack<T, kDecay>{p}.run();
}

HoloBackwardLoop choose_holo_backward(const HoloShape& s) {
  return with_float(s.dtype, [&](auto t) -> HoloBackwardLoop {
    using T = decltype(t);
    return s.decay ? holo_backward<T, true> : holo_backward<T, false>;
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_holo_backward);

namespace {

struct HoloBackwardScratch {};

Kernel make_holo_attention_backward(Attrs& attrs) {
  const HoloShape s(attrs);
  const HoloBackwardLoop loop = HWY_DYNAMIC_DISPATCH(choose_holo_backward)(s);
  const auto element = static_cast<int64_t>(size_of(s.dtype));
  return [=, blocks = holo_blocks(s)](const Operands& args) {
    constexpr int64_t kStates = 1 << 15;  // floats of the states of a chunk that stay in the second cache
    const int64_t most = std::max<int64_t>(1, kStates / (kHoloChunk * s.block_state()));
    holo_tasks(s, most, [&](int64_t b, int64_t first, int64_t end) {
      const int64_t state = s.H * s.head_state(), floats = (end - first) * s.block_state();
      HoloBackward p{};
      p.shape = &s;
      p.blocks = blocks.data() + first, p.end = blocks.data() + end;
      p.dy = static_cast<const char*>(args.in[0]) + b * s.T * s.H * 2 * s.F * element;
      p.qkv = static_cast<const char*>(args.in[1]) + b * s.T * s.row() * element;
      p.starts = static_cast<const float*>(args.in[2]) + b * s.chunks() * state;
      if (s.state) p.dstate = static_cast<const float*>(args.in[3]) + b * state;
      if (s.decay) p.decay = static_cast<const float*>(args.in[4]) + b * s.T * s.H * s.F;
      if (s.keep) p.keep = static_cast<const uint8_t*>(args.in[5]) + b * s.T;
      p.dqkv = static_cast<char*>(args.out[0]) + b * s.T * s.row() * element;
      p.ddecay = static_cast<float*>(args.out[1]) + (s.decay ? b * s.T * s.H * s.F : 0);
      p.first = static_cast<float*>(args.out[2]) + b * state;
      p.states = scratch<HoloBackwardScratch, float>(static_cast<size_t>((kHoloChunk + 2) * floats));
      p.grads = p.states + floats;
      p.before = p.grads + floats;
      p.ahead = std::max<int64_t>(1, kHoloAhead / (end - first));
      loop(p);
    });
  };
}

ATTN_CPU_KERNEL(holo_attention_backward, make_holo_attention_backward);

}  // namespace
}  // namespace attn::cpu
#endif
