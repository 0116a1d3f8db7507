// Conversion between any two dtypes. Attributes: from, to, elements.
// float → int truncates toward zero, saturates, and makes NaN 0; int → narrower int wraps; anything but 0 is
// true.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/cast.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "map.h"
#include "vec.h"

#ifndef ATTN_CPU_CAST
#define ATTN_CPU_CAST
namespace attn::cpu {
struct Flag {
  uint8_t byte;
};
using CastLoop = void (*)(const void* x, void* y, int64_t n);

// Calls fn(T{}) with the storage type of any dtype.
template <class F>
auto with_any(DType t, F&& fn) {
  switch (t) {
    case DType::i32:
      return fn(int32_t{});
    case DType::u8:
      return fn(uint8_t{});
    case DType::boolean:
      return fn(Flag{});
    default:
      return with_float(t, fn);
  }
}
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

HWY_INLINE VI load(const uint8_t* p) { return hn::PromoteTo(I32(), hn::LoadU(U8(), p)); }
HWY_INLINE VI load(const Flag* p) { return load(&p->byte); }

HWY_INLINE void put(VF v, float* p) { store(v, p); }
HWY_INLINE void put(VF v, Half* p) { store(v, p); }
HWY_INLINE void put(VF v, BFloat* p) { store(v, p); }
HWY_INLINE void put(VF v, int32_t* p) {
  // The largest float below 2^31 is 2^31 - 128: past it the answer is 2^31 - 1.
  const VI whole =
      hn::ConvertTo(I32(), hn::Max(hn::Min(v, hn::Set(F32(), 2147483520.f)), hn::Set(F32(), -0x1p31f)));
  const auto over = hn::RebindMask(I32(), hn::Ge(v, hn::Set(F32(), 0x1p31f)));
  const VI full = hn::IfThenElse(over, hn::Set(I32(), 0x7fffffff), whole);
  store(hn::IfThenZeroElse(hn::RebindMask(I32(), hn::IsNaN(v)), full), p);
}
HWY_INLINE void put(VF v, uint8_t* p) {
  const VF number = hn::IfThenZeroElse(hn::IsNaN(v), v);
  const VF bounded = hn::Max(hn::Min(number, hn::Set(F32(), 255.f)), hn::Zero(F32()));
  hn::StoreU(hn::DemoteTo(U8(), hn::ConvertTo(I32(), bounded)), U8(), p);
}
HWY_INLINE void put(VF v, Flag* p) {
  const auto zero = hn::RebindMask(I32(), hn::Eq(v, hn::Zero(F32())));
  hn::StoreU(hn::DemoteTo(U8(), hn::IfThenZeroElse(zero, hn::Set(I32(), 1))), U8(), &p->byte);
}
template <class T>
HWY_INLINE void put(VI v, T* p) {
  put(hn::ConvertTo(F32(), v), p);
}
HWY_INLINE void put(VI v, int32_t* p) { store(v, p); }
HWY_INLINE void put(VI v, uint8_t* p) {
  hn::StoreU(hn::DemoteTo(U8(), hn::And(v, hn::Set(I32(), 255))), U8(), p);
}
HWY_INLINE void put(VI v, Flag* p) {
  const auto zero = hn::Eq(v, hn::Zero(I32()));
  hn::StoreU(hn::DemoteTo(U8(), hn::IfThenZeroElse(zero, hn::Set(I32(), 1))), U8(), &p->byte);
}

template <class From, class To>
void cast_loop(const void* in, void* out, int64_t n) {
  const From* HWY_RESTRICT x = static_cast<const From*>(in);
  To* HWY_RESTRICT y = static_cast<To*>(out);
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(F32()));
  for (int64_t i = 0; i < n; i += lanes) put(load(x + i), y + i);
}

CastLoop choose_cast(DType from, DType to) {
  return with_any(from, [to](auto x) -> CastLoop {
    return with_any(to, [](auto y) -> CastLoop { return cast_loop<decltype(x), decltype(y)>; });
  });
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_cast);

static Kernel make_cast(Attrs& attrs) {
  const DType from = attrs.dtype(), to = attrs.dtype();
  const int64_t n = attrs.i(), in_size = static_cast<int64_t>(size_of(from)),
                out_size = static_cast<int64_t>(size_of(to));
  const CastLoop loop = HWY_DYNAMIC_DISPATCH(choose_cast)(from, to);
  return [=](const Operands& o) {
    const char* x = static_cast<const char*>(o.in[0]);
    char* y = static_cast<char*>(o.out[0]);
    parallel_for(
        n, kMapGrain,
        [&](int64_t begin, int64_t end) { loop(x + begin * in_size, y + begin * out_size, end - begin); },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(cast, make_cast);
}  // namespace attn::cpu
#endif
