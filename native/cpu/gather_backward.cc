// gather_backward {dtype, elements of out, axis size, axis stride, length and stride of the index along it,
// dims of the index's other axes, strides of out and of the index along them}: out[.., index[i], ..] +=
// dy[i]. Lines along the axis are independent of each other, so each has one thread.
#include <algorithm>
#include <cstring>

#include "element.h"
#include "index.h"
#include "kernel.h"
#include "scratch.h"
#include "strided.h"
#include "team.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 13;  // elements of dy that are worth a thread

struct Lines {
  int64_t elements, size, stride, length, index_stride;
  Strided out, index;  // by line
};

struct Sums;

// Halves are summed in float32: in a line of sums that is 0 whenever no line is being summed.
template <class T>
void add_line(const Lines& l, const T* dy, const int32_t* index, T* out) {
  float* sums = scratch<Sums, float>(static_cast<size_t>(l.size));
  const auto each = [&](auto&& fn) {
    for (int64_t k = 0; k < l.length; k++)
      if (const int64_t i = index[k * l.index_stride]; !outside(i, l.size)) fn(i, k * l.index_stride);
  };
  each([&](int64_t i, int64_t at) { sums[i] += to_f32(dy[at]); });
  each([&](int64_t i, int64_t) { out[i * l.stride] = from_f32<T>(sums[i]); });
  each([&](int64_t i, int64_t) { sums[i] = 0; });
}

template <>
void add_line(const Lines& l, const float* dy, const int32_t* index, float* out) {
  for (int64_t k = 0; k < l.length; k++) {
    const int64_t at = k * l.index_stride, i = index[at];
    if (!outside(i, l.size)) out[i * l.stride] += dy[at];
  }
}

template <class T>
Kernel make(Lines lines) {
  return [l = std::move(lines)](const Operands& args) {
    const T* dy = static_cast<const T*>(args.in[0]);
    const int32_t* index = static_cast<const int32_t*>(args.in[1]);
    T* out = static_cast<T*>(args.out[0]);
    parallel_for(l.elements, kGrain, [&](int64_t begin, int64_t end) {
      std::memset(out + begin, 0, static_cast<size_t>(end - begin) * sizeof(T));
    });
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, l.length));
    parallel_for(l.index.count(), grain, [&](int64_t begin, int64_t end) {
      Odometer to(l.out, begin), from(l.index, begin);
      for (int64_t i = begin; i < end; i++, to.next(), from.next())
        add_line<T>(l, dy + from.offset(), index + from.offset(), out + to.offset());
    });
  };
}

Kernel make_gather_backward(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  Lines l;
  l.elements = attrs.i(), l.size = attrs.i(), l.stride = attrs.i();
  l.length = attrs.i(), l.index_stride = attrs.i();
  l.index.dims = l.out.dims = attrs.list();
  l.out.strides = attrs.list();
  l.index.strides = attrs.list();
  return with_float(dtype, [&](auto element) { return make<decltype(element)>(std::move(l)); });
}

ATTN_CPU_KERNEL(gather_backward, make_gather_backward);

}  // namespace
}  // namespace attn::cpu
