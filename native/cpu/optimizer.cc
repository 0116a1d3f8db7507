// Optimisers' steps over flat float32 tensors of whole 64-element blocks (src/ops/flat.ts): `blocks` names
// for each block the row of `groups` that holds its hyper-parameters; no row, no step. Formulas:
// src/ops/adamw.ts, sgd.ts, muon.ts. Tensors that a step changes arrive after its outputs.
#include <cmath>

#include "map.h"

#ifndef ATTN_CPU_OPTIMIZER
#define ATTN_CPU_OPTIMIZER
namespace attn::cpu {

inline constexpr int64_t kBlock = 64, kColumns = 8;   // whole vectors of every instruction set
enum Scalar { kNorm, kCoefficient, kFinite, kStep };  // places in `scalars`

struct AdamW {
  float *p, *m, *v;
  const float* g;
  float clip, beta2, rest1, rest2, keep, rate, root, eps;
};
struct Sgd {
  float *p, *b;
  const float* g;
  float clip, lr, decay, mu, share;
  bool nesterov, fresh;
};
struct Muon {
  float *m, *u;
  const float* g;
  float clip, mu, rest;
  bool nesterov;
};

struct StepLoops {  // each over one block, or `n` elements
  void (*adamw)(const AdamW&);
  void (*sgd)(const Sgd&);
  void (*muon)(const Muon&);
  double (*squares)(const float* g);
};
struct MixLoops {  // of one dtype of x
  void (*accumulate)(float* target, const void* x, int64_t n, bool replace);
  void (*apply)(float* p, const void* x, int64_t n, float keep, float rate);
  void (*axpby)(const void* x, const void* y, void* z, int64_t n, float a, float b);
};

}  // namespace attn::cpu
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/optimizer.cc"
#include "targets.h"

#include <hwy/foreach_target.h>
#include "vec.h"

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
namespace {

void adamw(const AdamW& s) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF clip = hn::Set(d, s.clip), beta2 = hn::Set(d, s.beta2), rest1 = hn::Set(d, s.rest1),
           rest2 = hn::Set(d, s.rest2), keep = hn::Set(d, s.keep), rate = hn::Set(d, s.rate),
           root = hn::Set(d, s.root), eps = hn::Set(d, s.eps);
  for (int64_t i = 0; i < kBlock; i += lanes) {
    const VF g = hn::Mul(load(s.g + i), clip), old = load(s.m + i);
    const VF m = hn::MulAdd(rest1, hn::Sub(g, old), old);
    const VF v = hn::MulAdd(beta2, load(s.v + i), hn::Mul(rest2, hn::Mul(g, g)));
    const VF step = hn::Div(hn::Mul(rate, m), hn::MulAdd(hn::Sqrt(v), root, eps));
    store(m, s.m + i);
    store(v, s.v + i);
    store(hn::MulSub(load(s.p + i), keep, step), s.p + i);
  }
}

void sgd(const Sgd& s) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF clip = hn::Set(d, s.clip), lr = hn::Set(d, s.lr), decay = hn::Set(d, s.decay),
           mu = hn::Set(d, s.mu), share = hn::Set(d, s.share);
  for (int64_t i = 0; i < kBlock; i += lanes) {
    const VF p = load(s.p + i), g = hn::MulAdd(decay, p, hn::Mul(load(s.g + i), clip));
    const VF b = s.fresh ? g : hn::MulAdd(mu, load(s.b + i), hn::Mul(share, g));
    store(b, s.b + i);
    store(hn::NegMulAdd(lr, s.nesterov ? hn::MulAdd(mu, b, g) : b, p), s.p + i);
  }
}

void muon(const Muon& s) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  const VF clip = hn::Set(d, s.clip), mu = hn::Set(d, s.mu), rest = hn::Set(d, s.rest);
  for (int64_t i = 0; i < kBlock; i += lanes) {
    const VF g = hn::Mul(rest, hn::Mul(load(s.g + i), clip)), m = hn::MulAdd(mu, load(s.m + i), g);
    store(m, s.m + i);
    store(s.nesterov ? hn::MulAdd(mu, m, g) : m, s.u + i);
  }
}

double squares(const float* g) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  VF sum = hn::Zero(d);
  for (int64_t i = 0; i < kBlock; i += lanes) {
    const VF v = load(g + i);
    sum = hn::MulAdd(v, v, sum);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

template <class T>
struct Mix {
  static void accumulate(float* target, const void* x, int64_t n, bool replace) {
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
    const T* from = static_cast<const T*>(x);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      const VF v = load(from + i);
      store(replace ? v : hn::Add(load(target + i), v), target + i);
    }
    for (; i < n; i++) target[i] = replace ? to_f32(from[i]) : target[i] + to_f32(from[i]);
  }
  static void apply(float* p, const void* x, int64_t n, float keep, float rate) {
    const F32 d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const T* from = static_cast<const T*>(x);
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
      store(hn::NegMulAdd(hn::Set(d, rate), load(from + i), hn::Mul(load(p + i), hn::Set(d, keep))), p + i);
    for (; i < n; i++) p[i] = p[i] * keep - rate * to_f32(from[i]);
  }
  static void axpby(const void* x, const void* y, void* z, int64_t n, float a, float b) {
    const F32 d;
    const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
    const T *u = static_cast<const T*>(x), *v = static_cast<const T*>(y);
    for (int64_t i = 0; i < n; i += lanes)  // into the pad at the end: see vec.h
      store(hn::MulAdd(hn::Set(d, a), load(u + i), hn::Mul(hn::Set(d, b), load(v + i))),
            static_cast<T*>(z) + i);
  }
};

}  // namespace

StepLoops OptimizerSteps() { return {adamw, sgd, muon, squares}; }
MixLoops OptimizerMix(DType dtype) {
  return with_float(dtype, [](auto t) {
    using Of = Mix<decltype(t)>;
    return MixLoops{Of::accumulate, Of::apply, Of::axpby};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
namespace {

HWY_EXPORT(OptimizerSteps);
HWY_EXPORT(OptimizerMix);

constexpr int64_t kGrain = kMapGrain / 4 / kBlock;  // blocks that repay a second thread

template <class T = float>
const T* in(const Operands& args, size_t i) {
  return static_cast<const T*>(args.in[i]);
}
float* out(const Operands& args, size_t i) { return static_cast<float*>(args.out[i]); }

// Calls fn(block, hyper-parameters) for each block that has some.
template <class F>
void each_block(const uint8_t* blocks, const float* groups, int64_t rows, int64_t begin, int64_t end,
                F&& fn) {
  for (int64_t b = begin; b < end; b++)
    if (blocks[b] < rows) fn(b, groups + blocks[b] * kColumns);
}

// 1 - beta^t, from -ln beta.
double correction(float t, float rate) { return -std::expm1(-static_cast<double>(t) * rate); }

Kernel make_adamw(Attrs& attrs) {
  const int64_t blocks = attrs.i(), rows = attrs.i();
  return [=, step = HWY_DYNAMIC_DISPATCH(OptimizerSteps)().adamw](const Operands& args) {
    const float *g = in(args, 1), *groups = in(args, 5), *steps = in(args, 6), *scalars = in(args, 7);
    float *p = out(args, 0), *m = out(args, 1), *v = out(args, 2);
    if (scalars[kFinite] == 0) return;
    parallel_for(blocks, kGrain, [&](int64_t begin, int64_t end) {
      AdamW s{};
      const float* known = nullptr;  // whose constants s holds, at step t
      float t = 0;
      each_block(in<uint8_t>(args, 4), groups, rows, begin, end, [&](int64_t b, const float* h) {
        if (h != known || steps[b] != t) {
          known = h;
          t = steps[b];
          s.clip = scalars[kCoefficient];
          s.keep = static_cast<float>(1 - static_cast<double>(h[0]) * h[1]);
          s.eps = h[2], s.beta2 = h[3], s.rest1 = h[4], s.rest2 = h[5];
          s.rate = static_cast<float>(h[0] / correction(t, h[6]));
          s.root = static_cast<float>(1 / std::sqrt(correction(t, h[7])));
        }
        const int64_t at = b * kBlock;
        s.p = p + at, s.m = m + at, s.v = v + at, s.g = g + at;
        step(s);
      });
    });
  };
}

Kernel make_sgd(Attrs& attrs) {
  const int64_t blocks = attrs.i(), rows = attrs.i();
  return [=, step = HWY_DYNAMIC_DISPATCH(OptimizerSteps)().sgd](const Operands& args) {
    const float *g = in(args, 1), *groups = in(args, 4), *steps = in(args, 5), *scalars = in(args, 6);
    float *p = out(args, 0), *m = out(args, 1);
    if (scalars[kFinite] == 0) return;
    parallel_for(blocks, kGrain, [&](int64_t begin, int64_t end) {
      each_block(in<uint8_t>(args, 3), groups, rows, begin, end, [&](int64_t b, const float* h) {
        const int64_t at = b * kBlock;
        step({p + at, m + at, g + at, scalars[kCoefficient], h[0], h[1], h[2], h[3], h[4] != 0,
              steps[b] == 1});
      });
    });
  };
}

Kernel make_muon_momentum(Attrs& attrs) {
  const int64_t blocks = attrs.i(), rows = attrs.i();
  return [=, step = HWY_DYNAMIC_DISPATCH(OptimizerSteps)().muon](const Operands& args) {
    const float *g = in(args, 0), *groups = in(args, 3), *scalars = in(args, 4);
    float *u = out(args, 0), *m = out(args, 1);
    const bool finite = scalars[kFinite] != 0;
    parallel_for(blocks, kGrain, [&](int64_t begin, int64_t end) {
      std::fill(u + begin * kBlock, u + end * kBlock, 0.0f);
      if (!finite) return;
      each_block(in<uint8_t>(args, 2), groups, rows, begin, end, [&](int64_t b, const float* h) {
        const int64_t at = b * kBlock;
        step({m + at, u + at, g + at, scalars[kCoefficient], h[2], h[3], h[4] != 0});
      });
    });
  };
}

Kernel make_grad_norm(Attrs& attrs) {
  const int64_t blocks = attrs.i();
  // Spans of fixed length, added in order: the same bits however many threads there are.
  constexpr int64_t kSpan = 256;
  const int64_t spans = (blocks + kSpan - 1) / kSpan;
  return [=, squares = HWY_DYNAMIC_DISPATCH(OptimizerSteps)().squares,
          parts = std::vector<double>(static_cast<size_t>(spans))](const Operands& args) mutable {
    const float* g = in(args, 0);
    const uint8_t* groups = in<uint8_t>(args, 1);
    parallel_for(spans, kGrain / kSpan, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; s++) {
        double sum = 0;
        for (int64_t b = s * kSpan; b < std::min(blocks, (s + 1) * kSpan); b++)
          if (groups[b] != 255) sum += squares(g + b * kBlock);
        parts[static_cast<size_t>(s)] = sum;
      }
    });
    double sum = 0;
    for (const double part : parts) sum += part;
    const bool finite = std::isfinite(static_cast<float>(sum));
    const double norm = std::sqrt(sum), limit = *in(args, 2);
    float *scalars = out(args, 0), *state = out(args, 1), *steps = out(args, 2);
    state[finite ? 0 : 1] += 1;
    scalars[kNorm] = static_cast<float>(norm);
    scalars[kCoefficient] =
        finite ? limit > 0 ? static_cast<float>(std::min(1.0, limit / (norm + 1e-6))) : 1.0f : 0.0f;
    scalars[kFinite] = finite ? 1.0f : 0.0f;
    scalars[kStep] = state[0];
    if (finite)
      for (int64_t b = 0; b < blocks; b++)
        if (groups[b] != 255) steps[b] += 1;
  };
}

Kernel make_accumulate(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t n = attrs.i();
  const bool replace = attrs.b();
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  return [=, add = HWY_DYNAMIC_DISPATCH(OptimizerMix)(dtype).accumulate](const Operands& args) {
    parallel_for(
        n, kMapGrain,
        [&](int64_t begin, int64_t end) {
          add(out(args, 0) + begin, in<char>(args, 1) + begin * bytes, end - begin, replace);
        },
        kMapAlign);
  };
}

Kernel make_muon_apply(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t n = attrs.i(), group = attrs.i();
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  return [=, apply = HWY_DYNAMIC_DISPATCH(OptimizerMix)(dtype).apply](const Operands& args) {
    const float* hyper = in(args, 2) + group * kColumns;
    if (in(args, 3)[kFinite] == 0) return;
    const auto keep = static_cast<float>(1 - static_cast<double>(hyper[0]) * hyper[1]);
    parallel_for(
        n, kMapGrain,
        [&](int64_t begin, int64_t end) {
          apply(out(args, 0) + begin, in<char>(args, 1) + begin * bytes, end - begin, keep, hyper[0]);
        },
        kMapAlign);
  };
}

Kernel make_axpby(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t n = attrs.i();
  const auto a = static_cast<float>(attrs.f()), b = static_cast<float>(attrs.f());
  const auto bytes = static_cast<int64_t>(size_of(dtype));
  return [=, mix = HWY_DYNAMIC_DISPATCH(OptimizerMix)(dtype).axpby](const Operands& args) {
    parallel_for(
        n, kMapGrain,
        [&](int64_t begin, int64_t end) {
          const int64_t at = begin * bytes;
          mix(in<char>(args, 0) + at, in<char>(args, 1) + at, static_cast<char*>(args.out[0]) + at,
              end - begin, a, b);
        },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(adamw_step, make_adamw);
ATTN_CPU_KERNEL(sgd_step, make_sgd);
ATTN_CPU_KERNEL(muon_momentum_step, make_muon_momentum);
ATTN_CPU_KERNEL(muon_apply_step, make_muon_apply);
ATTN_CPU_KERNEL(grad_norm_step, make_grad_norm);
ATTN_CPU_KERNEL(accumulate_step, make_accumulate);
ATTN_CPU_KERNEL(axpby_step, make_axpby);

}  // namespace
}  // namespace attn::cpu
#endif
