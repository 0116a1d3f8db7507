// tensor_product {dtype, tokens, heads, D, ranks}: of each token's factors a and b the heads
// y_h = sum_r a_hr b_r / R, group by group of ranks; a group of rank 0 has its heads in b as they are.
// tensor_product_backward of the same attributes: da_hr = <dy_h, b_r> / R and db_r = sum_h a_hr dy_h / R.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/tensor_product.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include <algorithm>

#include "kernel.h"
#include "team.h"
#include "vec.h"

#ifndef ATTN_CPU_TENSOR_PRODUCT
#define ATTN_CPU_TENSOR_PRODUCT
namespace attn::cpu {
// The factors of one group of heads of one token: a [heads, rank], b [rank, D].
struct ProductShape {
  int64_t heads, rank, D;
};
struct ProductLoops {
  void (*forward)(const ProductShape&, const void* a, const void* b, void* y);
  void (*backward)(const ProductShape&, const void* dy, const void* a, const void* b, void* da, void* db);
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

template <class T>
struct Product {
  // fn(get, put, d) for each vector of D elements, whole ones and the rest.
  template <class F>
  static HWY_INLINE void each(int64_t D, F&& fn) {
    const int64_t N = static_cast<int64_t>(hn::Lanes(F32()));
    int64_t d = 0;
    for (; d + N <= D; d += N)
      fn([&](const T* p) HWY_ATTR { return load(p + d); }, [&](VF v, T* p) HWY_ATTR { store(v, p + d); });
    if (d < D) {
      const auto rest = static_cast<size_t>(D - d);
      fn([&](const T* p) HWY_ATTR { return load_n(p + d, rest); },
         [&](VF v, T* p) HWY_ATTR { store_n(v, p + d, rest); });
    }
  }

  static void forward(const ProductShape& s, const void* as, const void* bs, void* ys) {
    const T *a = static_cast<const T*>(as), *b = static_cast<const T*>(bs);
    T* y = static_cast<T*>(ys);
    const F32 f;
    if (s.rank == 0) {
      std::copy_n(b, s.heads * s.D, y);
      return;
    }
    const VF share = hn::Set(f, 1.0f / static_cast<float>(s.rank));
    for (int64_t h = 0; h < s.heads; h++)
      each(s.D, [&](auto get, auto put) HWY_ATTR {
        VF sum = hn::Zero(f);
        for (int64_t r = 0; r < s.rank; r++)
          sum = hn::MulAdd(hn::Set(f, to_f32(a[h * s.rank + r])), get(b + r * s.D), sum);
        put(hn::Mul(sum, share), y + h * s.D);
      });
  }

  static void backward(const ProductShape& s, const void* dys, const void* as, const void* bs, void* das,
                       void* dbs) {
    const T *dy = static_cast<const T*>(dys), *a = static_cast<const T*>(as), *b = static_cast<const T*>(bs);
    T *da = static_cast<T*>(das), *db = static_cast<T*>(dbs);
    const F32 f;
    if (s.rank == 0) {
      std::copy_n(dy, s.heads * s.D, db);
      return;
    }
    const VF share = hn::Set(f, 1.0f / static_cast<float>(s.rank));
    for (int64_t r = 0; r < s.rank; r++)
      each(s.D, [&](auto get, auto put) HWY_ATTR {
        VF sum = hn::Zero(f);
        for (int64_t h = 0; h < s.heads; h++)
          sum = hn::MulAdd(hn::Set(f, to_f32(a[h * s.rank + r])), get(dy + h * s.D), sum);
        put(hn::Mul(sum, share), db + r * s.D);
      });
    for (int64_t h = 0; h < s.heads; h++)
      for (int64_t r = 0; r < s.rank; r++) {
        VF sum = hn::Zero(f);
        each(s.D,
             [&](auto get, auto) HWY_ATTR { sum = hn::MulAdd(get(dy + h * s.D), get(b + r * s.D), sum); });
        da[h * s.rank + r] = from_f32<T>(hn::GetLane(hn::SumOfLanes(f, hn::Mul(sum, share))));
      }
  }
};

ProductLoops choose_product(DType t) {
  return with_float(t, [](auto element) {
    using Of = Product<decltype(element)>;
    return ProductLoops{Of::forward, Of::backward};
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_product);

namespace {

constexpr int64_t kGrain = 1 << 13;  // elements of the result that are worth a thread

// Bytes of one token's rows, and its groups by where their parts begin in those.
struct Tokens {
  struct Group {
    ProductShape shape;
    int64_t a, b, y;
  };
  std::vector<Group> groups;
  int64_t tokens, a = 0, b = 0, y = 0, grain = 1;
  ProductLoops loops;

  explicit Tokens(Attrs& attrs) {
    const DType t = attrs.dtype();
    const auto bytes = static_cast<int64_t>(size_of(t));
    tokens = attrs.i();
    const int64_t heads = attrs.i(), D = attrs.i();
    for (const int64_t rank : attrs.list()) {
      groups.push_back({{heads, rank, D}, a, b, y});
      a += heads * rank * bytes, b += (rank == 0 ? heads : rank) * D * bytes, y += heads * D * bytes;
    }
    loops = HWY_DYNAMIC_DISPATCH(choose_product)(t);
    if (y > 0) grain = std::max<int64_t>(1, kGrain * bytes / y);
  }

  template <class F>
  void each(F&& fn) const {
    parallel_for(tokens, grain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; t++)
        for (const Group& g : groups) fn(g.shape, t * a + g.a, t * b + g.b, t * y + g.y);
    });
  }
};

const char* bytes_of(const void* p) { return static_cast<const char*>(p); }
char* bytes_of(void* p) { return static_cast<char*>(p); }

Kernel make_tensor_product(Attrs& attrs) {
  return [t = Tokens(attrs)](const Operands& o) {
    const char *a = bytes_of(o.in[0]), *b = bytes_of(o.in[1]);
    char* y = bytes_of(o.out[0]);
    t.each([&](const ProductShape& s, int64_t at, int64_t bt, int64_t yt) {
      t.loops.forward(s, a + at, b + bt, y + yt);
    });
  };
}

Kernel make_tensor_product_backward(Attrs& attrs) {
  return [t = Tokens(attrs)](const Operands& o) {
    const char *dy = bytes_of(o.in[0]), *a = bytes_of(o.in[1]), *b = bytes_of(o.in[2]);
    char *da = bytes_of(o.out[0]), *db = bytes_of(o.out[1]);
    t.each([&](const ProductShape& s, int64_t at, int64_t bt, int64_t yt) {
      t.loops.backward(s, dy + yt, a + at, b + bt, da + at, db + bt);
    });
  };
}

ATTN_CPU_KERNEL(tensor_product, make_tensor_product);
ATTN_CPU_KERNEL(tensor_product_backward, make_tensor_product_backward);

}  // namespace
}  // namespace attn::cpu
#endif
