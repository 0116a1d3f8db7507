// gather {bytes, axis size, axis stride, dims, strides}: out[i] = x[.., index[i], ..].
// `dims` are the index's axes and `strides` x's strides along them, 0 on the gathered axis, whose size and
// stride in x stand apart. Merged where both walk as one.
#include <algorithm>

#include "index.h"
#include "kernel.h"
#include "strided.h"
#include "team.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

template <class T>
Kernel make(int64_t size, int64_t axis_stride, Strided walk) {
  const int64_t count = walk.count();
  if (walk.dims.empty()) walk = {{1}, {0}};
  const int64_t last = walk.dims.back(), step = walk.strides.back();
  walk.dims.pop_back();
  walk.strides.pop_back();
  return [=](const Operands& args) {
    const T* x = static_cast<const T*>(args.in[0]);
    const int32_t* index = static_cast<const int32_t*>(args.in[1]);
    T* out = static_cast<T*>(args.out[0]);
    BadIndex bad;
    parallel_for(count, kGrain, [&](int64_t begin, int64_t end) {
      Odometer at(walk, begin / last);
      for (int64_t i = begin; i < end; at.next()) {
        const int64_t first = i / last * last, stop = std::min(end, first + last);
        const T* base = x + at.offset();
        for (; i < stop; i++) {
          const int64_t k = index[i];
          if (outside(k, size)) {
            bad.at(i);
            out[i] = T{};
          } else {
            out[i] = base[(i - first) * step + k * axis_stride];
          }
        }
      }
    });
    bad.raise(index, size, "index", "an axis");
  };
}

Kernel make_gather(Attrs& attrs) {
  const int64_t bytes = attrs.i(), size = attrs.i(), stride = attrs.i();
  Strided walk{attrs.list(), attrs.list()};
  if (walk.count() == 0) return [](const Operands&) {};
  if (bytes == 1) return make<uint8_t>(size, stride, std::move(walk));
  if (bytes == 2) return make<uint16_t>(size, stride, std::move(walk));
  return make<uint32_t>(size, stride, std::move(walk));
}

ATTN_CPU_KERNEL(gather, make_gather);

}  // namespace
}  // namespace attn::cpu
