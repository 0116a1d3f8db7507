// The element-wise halves of linear's kernels, and activation_backward {activation, dtype, elements}: dx = dy
// act'(x).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/activation.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "activate.h"
#include "map.h"

#ifndef ATTN_CPU_ACTIVATION
#define ATTN_CPU_ACTIVATION
namespace attn::cpu {
struct ActivationLoops {
  void (*finish)(const Finish&, const float* c, void* z, const void* residual, void* y, int64_t n);
  void (*slope)(const Slope&, const void* dy, const void* z, void* dz, float* sums, int64_t rows,
                int64_t columns);
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <Activation A, class T>
struct Activated {
  static constexpr bool kCoarse = !std::is_same_v<T, float>;

  static void finish(const Finish& f, const float* c, void* z, const void* residual, void* y, int64_t n) {
    const bool y_wide = f.y == DType::f32, residual_wide = f.residual == DType::f32;
    walk(n, [&](auto get, auto put) HWY_ATTR {
      VF v = get(c);
      if (z) put(v, static_cast<T*>(z));
      v = activate<A, kCoarse>(v);
      if (residual)
        v = hn::Add(v, residual_wide ? get(static_cast<const float*>(residual))
                                     : get(static_cast<const T*>(residual)));
      if (y_wide)
        put(v, static_cast<float*>(y));
      else
        put(v, static_cast<T*>(y));
    });
  }

  // Some rows side by side, so that the sums are loaded and stored once for all of them.
  template <int64_t kRows>
  static HWY_INLINE void slope_rows(const Slope& f, const void* dy, const void* z, void* dz, float* sums,
                                    int64_t at, int64_t columns) {
    const bool wide_dy = f.dy == DType::f32, wide_dz = f.dz == DType::f32;
    walk(columns, [&](auto get, auto put) HWY_ATTR {
      VF sum = sums ? get(sums) : hn::Zero(F32());
      HWY_UNROLL(4)
      for (int64_t r = 0; r < kRows; ++r) {
        const int64_t row = at + r * columns;
        VF g = wide_dy ? get(static_cast<const float*>(dy) + row) : get(static_cast<const T*>(dy) + row);
        if constexpr (A != Activation::none)
          g = hn::Mul(g, slope_of<A, kCoarse>(get(static_cast<const T*>(z) + row)));
        if (dz && wide_dz) put(g, static_cast<float*>(dz) + row);
        if (dz && !wide_dz) put(g, static_cast<T*>(dz) + row);
        sum = hn::Add(sum, g);
      }
      if (sums) put(sum, sums);
    });
  }

  static void slope(const Slope& f, const void* dy, const void* z, void* dz, float* sums, int64_t rows,
                    int64_t columns) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) slope_rows<4>(f, dy, z, dz, sums, r * columns, columns);
    for (; r < rows; ++r) slope_rows<1>(f, dy, z, dz, sums, r * columns, columns);
  }
};

template <Activation A>
ActivationLoops loops_of(DType t) {
  return with_float(t, [](auto element) {
    using Of = Activated<A, decltype(element)>;
    return ActivationLoops{Of::finish, Of::slope};
  });
}

ActivationLoops choose_activation(Activation a, DType t) {
  switch (a) {
    case Activation::none:
      return loops_of<Activation::none>(t);
    case Activation::relu:
      return loops_of<Activation::relu>(t);
    case Activation::gelu:
      return loops_of<Activation::gelu>(t);
    case Activation::gelu_tanh:
      return loops_of<Activation::gelu_tanh>(t);
    case Activation::silu:
      return loops_of<Activation::silu>(t);
    case Activation::sigmoid:
      return loops_of<Activation::sigmoid>(t);
    case Activation::tanh:
      return loops_of<Activation::tanh>(t);
  }
  throw Error("ATTN_INTERNAL", "unknown activation code");
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_activation);

void finish(const Finish& f, const float* c, void* z, const void* residual, void* y, int64_t n) {
  HWY_DYNAMIC_DISPATCH(choose_activation)(f.activation, f.in).finish(f, c, z, residual, y, n);
}

void slope(const Slope& f, const void* dy, const void* z, void* dz, float* sums, int64_t rows,
           int64_t columns) {
  HWY_DYNAMIC_DISPATCH(choose_activation)(f.activation, f.in).slope(f, dy, z, dz, sums, rows, columns);
}

static Kernel make_activation_backward(Attrs& attrs) {
  const auto activation = static_cast<Activation>(attrs.i());
  const DType t = attrs.dtype();
  const int64_t n = attrs.i(), size = static_cast<int64_t>(size_of(t));
  const auto run = HWY_DYNAMIC_DISPATCH(choose_activation)(activation, t).slope;
  const int64_t grain = activation == Activation::relu ? kMapGrain : kSpecialGrain;
  return [=](const Operands& o) {
    const auto *dy = static_cast<const char*>(o.in[0]), *x = static_cast<const char*>(o.in[1]);
    auto* dx = static_cast<char*>(o.out[0]);
    parallel_for(
        n, grain,
        [&](int64_t begin, int64_t end) {
          run({activation, t, t, t}, dy + begin * size, x + begin * size, dx + begin * size, nullptr, 1,
              end - begin);
        },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(activation_backward, make_activation_backward);
}  // namespace attn::cpu
#endif
