// out = condition ? a : b with NumPy broadcasting: moves bits, so only the size of an element matters.
// Attributes: bytes of an element, then shape and strides of the three operands (map.h).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/where.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "map.h"

#ifndef ATTN_CPU_WHERE
#define ATTN_CPU_WHERE
namespace attn::cpu {
using WhereLoop = void (*)(const uint8_t* condition, const void* a, const void* b, void* out, int64_t n);
// By which operands move along the innermost axis: bit 0 the condition, bit 1 a, bit 2 b.
struct WhereLoops {
  WhereLoop moving[8];
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {

// Branch-free: the compiler makes it a masked move of the target's vectors.
template <class T, int moving>
void where_loop(const uint8_t* HWY_RESTRICT condition, const void* pa, const void* pb, void* po, int64_t n) {
  constexpr int64_t sc = moving & 1, sa = moving >> 1 & 1, sb = moving >> 2 & 1;
  const T* HWY_RESTRICT a = static_cast<const T*>(pa);
  const T* HWY_RESTRICT b = static_cast<const T*>(pb);
  T* HWY_RESTRICT out = static_cast<T*>(po);
  for (int64_t i = 0; i < n; i++) {
    const T yes = a[i * sa], no = b[i * sb];
    out[i] = condition[i * sc] ? yes : no;
  }
}

template <class T>
WhereLoops where_for() {
  return {{where_loop<T, 0>, where_loop<T, 1>, where_loop<T, 2>, where_loop<T, 3>, where_loop<T, 4>,
           where_loop<T, 5>, where_loop<T, 6>, where_loop<T, 7>}};
}

WhereLoops choose_where(int64_t size) {
  return size == 4 ? where_for<uint32_t>() : size == 2 ? where_for<uint16_t>() : where_for<uint8_t>();
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attn::cpu {
HWY_EXPORT(choose_where);

template <class T>
static Kernel make_short_rows(const Broadcast<3>& shape, WhereLoop loop) {
  return [=](const Operands& o) {
    const std::tuple operands(static_cast<const uint8_t*>(o.in[0]), static_cast<const T*>(o.in[1]),
                              static_cast<const T*>(o.in[2]));
    T* out = static_cast<T*>(o.out[0]);
    parallel_for(
        shape.size(), kSpecialGrain,
        [&](int64_t begin, int64_t end) {
          shape.blocks(begin, end, operands, [&](const auto& buffers, int64_t at, int64_t n) {
            const auto& [c, a, b] = buffers;
            loop(c.data(), a.data(), b.data(), out + at, n);
          });
        },
        kMapAlign);
  };
}

static Kernel make_where(Attrs& attrs) {
  const int64_t size = attrs.i();
  const Broadcast<3> shape(attrs);
  const WhereLoops loops = HWY_DYNAMIC_DISPATCH(choose_where)(size);
  if (!shape.one_row() && shape.row() < kShortRow) {
    const WhereLoop loop = loops.moving[7];
    return size == 4   ? make_short_rows<uint32_t>(shape, loop)
           : size == 2 ? make_short_rows<uint16_t>(shape, loop)
                       : make_short_rows<uint8_t>(shape, loop);
  }
  const int moving = static_cast<int>(shape.step(0) | shape.step(1) << 1 | shape.step(2) << 2);
  const WhereLoop loop = loops.moving[moving];
  return [=](const Operands& o) {
    const uint8_t* c = static_cast<const uint8_t*>(o.in[0]);
    const char* a = static_cast<const char*>(o.in[1]);
    const char* b = static_cast<const char*>(o.in[2]);
    char* out = static_cast<char*>(o.out[0]);
    parallel_for(
        shape.size(), kMapGrain,
        [&](int64_t begin, int64_t end) {
          shape.rows(begin, end, [&](const auto& offset, int64_t at, int64_t n) {
            loop(c + offset[0], a + offset[1] * size, b + offset[2] * size, out + at * size, n);
          });
        },
        kMapAlign);
  };
}

ATTN_CPU_KERNEL(where, make_where);
}  // namespace attn::cpu
#endif
