// swiglu {dtype, rows, width, packed}: silu(a) b, and swiglu_backward of the same attributes: dy b silu'(a)
// and dy silu(a). Packed, a row of a and b (and of their gradients) is `width` elements of a and then of b.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/swiglu.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "activate.h"
#include "map.h"

#ifndef ATTN_CPU_SWIGLU
#define ATTN_CPU_SWIGLU
namespace attn::cpu {
// n neighbours of each.
struct SwigluLoops {
  void (*forward)(const void* a, const void* b, void* y, int64_t n);
  void (*backward)(const void* dy, const void* a, const void* b, void* da, void* db, int64_t n);
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <class T>
struct Swiglu {
  static void forward(const void* a, const void* b, void* y, int64_t n) {
    walk(n, [&](auto get, auto put) HWY_ATTR {
      const VF u = get(static_cast<const T*>(a));
      put(hn::Mul(activate<Activation::silu>(u), get(static_cast<const T*>(b))), static_cast<T*>(y));
    });
  }
  static void backward(const void* dy, const void* a, const void* b, void* da, void* db, int64_t n) {
    walk(n, [&](auto get, auto put) HWY_ATTR {
      const VF g = get(static_cast<const T*>(dy)), u = get(static_cast<const T*>(a));
      const VF slope = slope_of<Activation::silu>(u);
      put(hn::Mul(hn::Mul(g, get(static_cast<const T*>(b))), slope), static_cast<T*>(da));
      put(hn::Mul(g, activate<Activation::silu>(u)), static_cast<T*>(db));
    });
  }
};

SwigluLoops choose_swiglu(DType t) {
  return with_float(t, [](auto element) {
    using Of = Swiglu<decltype(element)>;
    return SwigluLoops{Of::forward, Of::backward};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_swiglu);

namespace {

struct Rows {
  int64_t rows, width, bytes;
  bool packed;
  SwigluLoops loops;

  explicit Rows(Attrs& attrs) {
    const DType t = attrs.dtype();
    rows = attrs.i(), width = attrs.i();
    packed = attrs.b();
    bytes = static_cast<int64_t>(size_of(t));
    loops = HWY_DYNAMIC_DISPATCH(choose_swiglu)(t);
  }

  // fn(at, i, n): byte `at` of a (and b, where it is apart) and byte `i` of the result begin n elements, on
  // the team.
  template <class F>
  void each(F&& fn) const {
    if (packed)
      parallel_for(rows, std::max<int64_t>(1, kSpecialGrain / std::max<int64_t>(1, width)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r)
                       fn(2 * r * width * bytes, r * width * bytes, width);
                   });
    else
      parallel_for(
          width, kSpecialGrain,
          [&](int64_t begin, int64_t end) { fn(begin * bytes, begin * bytes, end - begin); }, kMapAlign);
  }
  // b or its gradient, where `a` is that of a.
  template <class P>
  P second(P a, P b, int64_t at) const {
    return packed ? a + at + width * bytes : b + at;
  }
};

const char* bytes_of(const void* p) { return static_cast<const char*>(p); }
char* bytes_of(void* p) { return static_cast<char*>(p); }

Kernel make_swiglu(Attrs& attrs) {
  return [r = Rows(attrs)](const Operands& o) {
    const char *a = bytes_of(o.in[0]), *b = r.packed ? nullptr : bytes_of(o.in[1]);
    r.each([&](int64_t at, int64_t i, int64_t n) {
      r.loops.forward(a + at, r.second(a, b, at), bytes_of(o.out[0]) + i, n);
    });
  };
}

Kernel make_swiglu_backward(Attrs& attrs) {
  return [r = Rows(attrs)](const Operands& o) {
    const char *a = bytes_of(o.in[1]), *b = r.packed ? nullptr : bytes_of(o.in[2]);
    char *da = bytes_of(o.out[0]), *db = bytes_of(o.out[1]);
    r.each([&](int64_t at, int64_t i, int64_t n) {
      r.loops.backward(bytes_of(o.in[0]) + i, a + at, r.second(a, b, at), da + at, r.second(da, db, at), n);
    });
  };
}

ATTN_CPU_KERNEL(swiglu, make_swiglu);
ATTN_CPU_KERNEL(swiglu_backward, make_swiglu_backward);

}  // namespace
}  // namespace attn::cpu
#endif
