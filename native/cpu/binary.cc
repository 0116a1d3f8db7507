// c = f(a, b) with NumPy broadcasting; comparisons give bytes 0 and 1.
// Attributes: op code, dtype, then shape and strides of both operands (map.h).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/binary.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "map.h"
#include "math.h"

#ifndef ATTN_CPU_BINARY
#define ATTN_CPU_BINARY
namespace attn::cpu {
// In the order of the table in src/ops/binary.ts: comparisons last.
enum class Binary {
  add,
  sub,
  mul,
  div,
  pow,
  maximum,
  minimum,
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal  //
};
inline constexpr bool compares(Binary op) { return op >= Binary::equal; }

// How the innermost axis is walked: along both, or with one operand standing still.
enum class Walk { both, left, right };  // `left`: only a moves
// `whole`: the operands are walked from their starts, so whole vectors may be loaded and stored at the end.
enum class Tail { exact, whole, past_caches };
using BinaryLoop = void (*)(const void* a, const void* b, void* c, int64_t n, Tail tail);
struct BinaryLoops {
  BinaryLoop walk[3];
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// A vector, or for comparisons a mask.
template <Binary op, class V>
HWY_INLINE auto apply(V a, V b) {
  constexpr bool is_float = std::is_same_v<V, VF>;
  if constexpr (op == Binary::add) return hn::Add(a, b);
  if constexpr (op == Binary::sub) return hn::Sub(a, b);
  if constexpr (op == Binary::mul) return hn::Mul(a, b);
  if constexpr (op == Binary::div) return hn::Div(a, b);
  if constexpr (op == Binary::pow) return vpow(a, b);
  if constexpr (op == Binary::maximum || op == Binary::minimum) {
    const V m = op == Binary::maximum ? hn::Max(a, b) : hn::Min(a, b);
    if constexpr (is_float) return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::IsNaN(b), b, m));
    return m;
  }
  if constexpr (op == Binary::equal) return hn::Eq(a, b);
  if constexpr (op == Binary::not_equal)
    return hn::Not(hn::Eq(a, b));  // not Ne: a NaN is unequal to everything
  if constexpr (op == Binary::less) return hn::Lt(a, b);
  if constexpr (op == Binary::greater) return hn::Gt(a, b);
  if constexpr (op == Binary::less_equal) {
    if constexpr (is_float) return hn::Le(a, b);
    return hn::Not(hn::Gt(a, b));
  }
  if constexpr (op == Binary::greater_equal) {
    if constexpr (is_float) return hn::Ge(a, b);
    return hn::Not(hn::Lt(a, b));
  }
}

// A mask as bytes 0 and 1.
template <class M>
HWY_INLINE hn::Vec<U8> bytes(M mask) {
  const I32 i;
  return hn::DemoteTo(U8(), hn::IfThenElseZero(hn::RebindMask(i, mask), hn::Set(i, 1)));
}

template <Binary op, class T, Walk walk>
void binary_loop(const void* pa, const void* pb, void* pc, int64_t n, Tail tail) {
  using Out = std::conditional_t<compares(op), uint8_t, T>;
  const T* HWY_RESTRICT a = static_cast<const T*>(pa);
  const T* HWY_RESTRICT b = static_cast<const T*>(pb);
  Out* HWY_RESTRICT c = static_cast<Out*>(pc);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));

  T still[HWY_MAX_BYTES / 4];  // the operand that does not move, repeated
  if constexpr (walk != Walk::both) std::fill_n(still, lanes, *(walk == Walk::left ? b : a));
  const auto fixed = load(walk == Walk::both ? a : still);
  const auto result = [&](auto va, auto vb) HWY_ATTR {
    if constexpr (compares(op))
      return bytes(apply<op>(va, vb));
    else
      return apply<op>(va, vb);
  };
  const auto at = [&](int64_t i) HWY_ATTR {
    if constexpr (walk == Walk::both)
      return result(load(a + i), load(b + i));
    else if constexpr (walk == Walk::left)
      return result(load(a + i), fixed);
    else
      return result(fixed, load(b + i));
  };
  const auto put = [](auto v, Out* p) HWY_ATTR {
    if constexpr (compares(op))
      hn::StoreU(v, U8(), p);
    else
      store(v, p);
  };

  int64_t i = 0;
  if (tail == Tail::past_caches) {
    for (; i < n; i += lanes) {
      if constexpr (compares(op))
        hn::Stream(at(i), U8(), c + i);
      else
        stream(at(i), c + i);
    }
    hwy::FlushStream();
    return;
  }
  for (; i + lanes <= n; i += lanes) put(at(i), c + i);
  if (i == n) return;
  if (tail == Tail::whole) return put(at(i), c + i);
  const size_t rest = static_cast<size_t>(n - i);
  auto va = fixed, vb = fixed;
  if constexpr (walk != Walk::right) va = load_n(a + i, rest);
  if constexpr (walk != Walk::left) vb = load_n(b + i, rest);
  HWY_ALIGN Out last[HWY_MAX_BYTES / 4];
  put(result(va, vb), last);
  std::memcpy(c + i, last, rest * sizeof(Out));
}

template <Binary op>
BinaryLoops binary_for(DType t) {
  const auto loops = [](auto element) -> BinaryLoops {
    using T = decltype(element);
    return {
        {binary_loop<op, T, Walk::both>, binary_loop<op, T, Walk::left>, binary_loop<op, T, Walk::right>}};
  };
  if (t == DType::i32) {
    if constexpr (op != Binary::div && op != Binary::pow) return loops(int32_t{});
  }
  return with_float(t, loops);
}

BinaryLoops choose_binary(Binary op, DType t) {
  switch (op) {
    case Binary::add:
      return binary_for<Binary::add>(t);
    case Binary::sub:
      return binary_for<Binary::sub>(t);
    case Binary::mul:
      return binary_for<Binary::mul>(t);
    case Binary::div:
      return binary_for<Binary::div>(t);
    case Binary::pow:
      return binary_for<Binary::pow>(t);
    case Binary::maximum:
      return binary_for<Binary::maximum>(t);
    case Binary::minimum:
      return binary_for<Binary::minimum>(t);
    case Binary::equal:
      return binary_for<Binary::equal>(t);
    case Binary::not_equal:
      return binary_for<Binary::not_equal>(t);
    case Binary::less:
      return binary_for<Binary::less>(t);
    case Binary::less_equal:
      return binary_for<Binary::less_equal>(t);
    case Binary::greater:
      return binary_for<Binary::greater>(t);
    case Binary::greater_equal:
      return binary_for<Binary::greater_equal>(t);
  }
  throw Error("ATTN_INTERNAL", "unknown binary op code");
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_binary);

template <class T>
static Kernel make_short_rows(const Broadcast<2>& shape, BinaryLoop loop, int64_t out_size, int64_t grain) {
  return [=](const Operands& o) {
    const std::tuple operands(static_cast<const T*>(o.in[0]), static_cast<const T*>(o.in[1]));
    char* c = static_cast<char*>(o.out[0]);
    parallel_for(
        shape.size(), grain,
        [&](int64_t begin, int64_t end) {
          shape.blocks(begin, end, operands, [&](const auto& buffers, int64_t at, int64_t n) {
            const auto& [a, b] = buffers;
            loop(a.data(), b.data(), c + at * out_size, n, Tail::exact);
          });
        },
        kMapAlign);
  };
}

static Kernel make_binary(Attrs& attrs) {
  const Binary op = static_cast<Binary>(attrs.i());
  const DType t = attrs.dtype();
  const Broadcast<2> shape(attrs);
  const BinaryLoops loops = HWY_DYNAMIC_DISPATCH(choose_binary)(op, t);
  const int64_t size = static_cast<int64_t>(size_of(t)), out_size = compares(op) ? 1 : size;
  const int64_t grain = op == Binary::pow ? kSpecialGrain : kMapGrain;
  const int64_t n = shape.size();

  if (!shape.one_row() && shape.row() < kShortRow) {
    const BinaryLoop loop = loops.walk[static_cast<int>(Walk::both)];
    return size == 4 ? make_short_rows<uint32_t>(shape, loop, out_size, kSpecialGrain)
                     : make_short_rows<uint16_t>(shape, loop, out_size, kSpecialGrain);
  }

  const Walk walk = shape.step(0) == 0 && n > 1   ? Walk::right
                    : shape.step(1) == 0 && n > 1 ? Walk::left
                                                  : Walk::both;
  const BinaryLoop loop = loops.walk[static_cast<int>(walk)];
  if (shape.one_row()) {
    const int64_t step_a = walk == Walk::right ? 0 : size, step_b = walk == Walk::left ? 0 : size;
    const Tail tail = past_caches(n * (step_a + step_b + out_size)) ? Tail::past_caches : Tail::whole;
    return [=](const Operands& o) {
      const char* a = static_cast<const char*>(o.in[0]);
      const char* b = static_cast<const char*>(o.in[1]);
      char* c = static_cast<char*>(o.out[0]);
      parallel_for(
          n, grain,
          [&](int64_t begin, int64_t end) {
            loop(a + begin * step_a, b + begin * step_b, c + begin * out_size, end - begin, tail);
          },
          kMapAlign);
    };
  }
  return [=](const Operands& o) {
    const char* a = static_cast<const char*>(o.in[0]);
    const char* b = static_cast<const char*>(o.in[1]);
    char* c = static_cast<char*>(o.out[0]);
    parallel_for(
        n, grain,
        [&](int64_t begin, int64_t end) {
          shape.rows(begin, end, [&](const auto& offset, int64_t at, int64_t run) {
            loop(a + offset[0] * size, b + offset[1] * size, c + at * out_size, run, Tail::exact);
          });
        },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(binary, make_binary);
}  // namespace attn::cpu
#endif
