// Makers of values. fill: {pattern, bytes}, the pattern a 32-bit word that holds the value as often as it
// fits. arange: {dtype, n, start, step}: element i is start + i*step, computed in float64 and rounded once.
#include "map.h"
#include "vec.h"

namespace attn::cpu {

static Kernel make_fill(Attrs& attrs) {
  const uint32_t pattern = static_cast<uint32_t>(attrs.i());
  const int64_t words = (attrs.i() + 3) / 4;
  const uint8_t byte = static_cast<uint8_t>(pattern);
  const bool bytes_alike = pattern == byte * 0x01010101u;
  return [=](const Operands& o) {
    uint32_t* y = static_cast<uint32_t*>(o.out[0]);
    parallel_for(
        words, kMapGrain,
        [=](int64_t begin, int64_t end) {
          // The C library knows how this machine best clears memory.
          if (bytes_alike)
            std::memset(y + begin, byte, static_cast<size_t>(end - begin) * 4);
          else
            std::fill(y + begin, y + end, pattern);
        },
        kMapAlign);
  };
}

template <class T>
static Kernel make_arange_of(int64_t n, double start, double step) {
  return [=](const Operands& o) {
    T* y = static_cast<T*>(o.out[0]);
    parallel_for(
        n, kMapGrain,
        [=](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; i++) {
            const double value = start + static_cast<double>(i) * step;
            if constexpr (std::is_same_v<T, int32_t>)
              y[i] = static_cast<int32_t>(value);
            else
              y[i] = from_f32<T>(static_cast<float>(value));
          }
        },
        kMapAlign);
  };
}

static Kernel make_arange(Attrs& attrs) {
  const DType t = attrs.dtype();
  const int64_t n = attrs.i();
  const double start = attrs.f(), step = attrs.f();
  if (t == DType::i32) return make_arange_of<int32_t>(n, start, step);
  return with_float(t, [&](auto element) { return make_arange_of<decltype(element)>(n, start, step); });
}

ATTN_CPU_KERNEL(fill, make_fill);
ATTN_CPU_KERNEL(arange, make_arange);
}  // namespace attn::cpu
