// y = f(x), element by element. Attributes: op code, dtype, elements.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/unary.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "activate.h"
#include "map.h"

#ifndef ATTN_CPU_UNARY
#define ATTN_CPU_UNARY
namespace attn::cpu {
// In the order of the table in src/ops/unary.ts.
enum class Unary {
  neg,
  abs,
  exp,
  log,
  sqrt,
  rsqrt,
  square,
  sin,
  cos,
  tanh,
  sigmoid,
  relu,
  gelu,
  gelu_tanh,
  silu,
  erf,
  sinh,
  asinh,
  log_sigmoid,
  elu_plus_one  //
};
// n elements from x to y, both aligned to 64 bytes.
using UnaryLoop = void (*)(const void* x, void* y, int64_t n, bool past_caches);
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <Unary op>
HWY_INLINE VF apply(VF x) {
  const VF one = vset(1.f);
  if constexpr (op == Unary::neg) return hn::Neg(x);
  if constexpr (op == Unary::abs) return hn::Abs(x);
  if constexpr (op == Unary::exp) return vexp(x);
  if constexpr (op == Unary::log) return vlog(x);
  if constexpr (op == Unary::sqrt) return hn::Sqrt(x);
  if constexpr (op == Unary::rsqrt) return hn::Div(one, hn::Sqrt(x));
  if constexpr (op == Unary::square) return hn::Mul(x, x);
  if constexpr (op == Unary::sin) return vsin(x);
  if constexpr (op == Unary::cos) return vcos(x);
  if constexpr (op == Unary::tanh) return activate<Activation::tanh>(x);
  if constexpr (op == Unary::sigmoid) return activate<Activation::sigmoid>(x);
  if constexpr (op == Unary::relu) return activate<Activation::relu>(x);
  if constexpr (op == Unary::gelu) return activate<Activation::gelu>(x);
  if constexpr (op == Unary::gelu_tanh) return activate<Activation::gelu_tanh>(x);
  if constexpr (op == Unary::silu) return activate<Activation::silu>(x);
  if constexpr (op == Unary::erf) return verf(x);
  if constexpr (op == Unary::sinh) return vsinh(x);
  if constexpr (op == Unary::asinh) return vasinh(x);
  if constexpr (op == Unary::log_sigmoid)
    return hn::Sub(hn::Min(x, vset(0.f)), vlog(hn::Add(one, vexp(hn::Neg(hn::Abs(x))))));
  if constexpr (op == Unary::elu_plus_one)
    return hn::IfThenElse(hn::Gt(x, vset(0.f)), hn::Add(x, one), vexp(x));
}

template <Unary op>
HWY_INLINE VI apply(VI x) {
  if constexpr (op == Unary::neg) return hn::Neg(x);
  if constexpr (op == Unary::abs) return hn::Abs(x);
  if constexpr (op == Unary::square) return hn::Mul(x, x);
  if constexpr (op == Unary::relu) return hn::Max(x, hn::Zero(I32()));
}

template <Unary op, class T>
void unary_loop(const void* in, void* out, int64_t n, bool past_caches) {
  const T* HWY_RESTRICT x = static_cast<const T*>(in);
  T* HWY_RESTRICT y = static_cast<T*>(out);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  if (past_caches) {
    for (int64_t i = 0; i < n; i += lanes) stream(apply<op>(load(x + i)), y + i);
    hwy::FlushStream();
  } else {
    for (int64_t i = 0; i < n; i += lanes) store(apply<op>(load(x + i)), y + i);
  }
}

template <Unary op>
UnaryLoop unary_for(DType t) {
  if (t == DType::i32) {
    if constexpr (op == Unary::neg || op == Unary::abs || op == Unary::square || op == Unary::relu)
      return unary_loop<op, int32_t>;
  }
  return with_float(t, [](auto element) -> UnaryLoop { return unary_loop<op, decltype(element)>; });
}

UnaryLoop choose_unary(Unary op, DType t) {
  switch (op) {
    case Unary::neg:
      return unary_for<Unary::neg>(t);
    case Unary::abs:
      return unary_for<Unary::abs>(t);
    case Unary::exp:
      return unary_for<Unary::exp>(t);
    case Unary::log:
      return unary_for<Unary::log>(t);
    case Unary::sqrt:
      return unary_for<Unary::sqrt>(t);
    case Unary::rsqrt:
      return unary_for<Unary::rsqrt>(t);
    case Unary::square:
      return unary_for<Unary::square>(t);
    case Unary::sin:
      return unary_for<Unary::sin>(t);
    case Unary::cos:
      return unary_for<Unary::cos>(t);
    case Unary::tanh:
      return unary_for<Unary::tanh>(t);
    case Unary::sigmoid:
      return unary_for<Unary::sigmoid>(t);
    case Unary::relu:
      return unary_for<Unary::relu>(t);
    case Unary::gelu:
      return unary_for<Unary::gelu>(t);
    case Unary::gelu_tanh:
      return unary_for<Unary::gelu_tanh>(t);
    case Unary::erf:
      return unary_for<Unary::erf>(t);
    case Unary::sinh:
      return unary_for<Unary::sinh>(t);
    case Unary::asinh:
      return unary_for<Unary::asinh>(t);
    case Unary::silu:
      return unary_for<Unary::silu>(t);
    case Unary::log_sigmoid:
      return unary_for<Unary::log_sigmoid>(t);
    case Unary::elu_plus_one:
      return unary_for<Unary::elu_plus_one>(t);
  }
  throw Error("ATTN_INTERNAL", "unknown unary op code");
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_unary);

static bool is_cheap(Unary op) {
  return op == Unary::neg || op == Unary::abs || op == Unary::square || op == Unary::relu ||
         op == Unary::sqrt;
}

static Kernel make_unary(Attrs& attrs) {
  const Unary op = static_cast<Unary>(attrs.i());
  const DType t = attrs.dtype();
  const int64_t n = attrs.i(), size = static_cast<int64_t>(size_of(t));
  const UnaryLoop loop = HWY_DYNAMIC_DISPATCH(choose_unary)(op, t);
  const int64_t grain = is_cheap(op) ? kMapGrain : kSpecialGrain;
  const bool stream = past_caches(2 * n * size);
  return [=](const Operands& o) {
    const char* x = static_cast<const char*>(o.in[0]);
    char* y = static_cast<char*>(o.out[0]);
    parallel_for(
        n, grain,
        [&](int64_t begin, int64_t end) { loop(x + begin * size, y + begin * size, end - begin, stream); },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(unary, make_unary);
}  // namespace attn::cpu
#endif
