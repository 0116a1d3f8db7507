// one_hot {bytes of an element, ids, depth, the bits of 1}: rows of zeros with a one at each id.
#include <algorithm>
#include <cstring>

#include "index.h"
#include "kernel.h"
#include "team.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes that are worth a thread

template <class T>
Kernel make(int64_t n, int64_t depth, T one) {
  return [=](const Operands& args) {
    const int32_t* ids = static_cast<const int32_t*>(args.in[0]);
    T* out = static_cast<T*>(args.out[0]);
    const int64_t bytes = depth * static_cast<int64_t>(sizeof(T));
    BadIndex bad;
    parallel_for(n, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, bytes)),
                 [&](int64_t begin, int64_t end) {
                   std::memset(out + begin * depth, 0, static_cast<size_t>((end - begin) * bytes));
                   for (int64_t i = begin; i < end; i++)
                     if (outside(ids[i], depth))
                       bad.at(i);
                     else
                       out[i * depth + ids[i]] = one;
                 });
    bad.raise(ids, depth, "id", "a row of classes");
  };
}

Kernel make_one_hot(Attrs& attrs) {
  const int64_t bytes = attrs.i(), n = attrs.i(), depth = attrs.i(), one = attrs.i();
  if (bytes == 1) return make<uint8_t>(n, depth, static_cast<uint8_t>(one));
  if (bytes == 2) return make<uint16_t>(n, depth, static_cast<uint16_t>(one));
  return make<uint32_t>(n, depth, static_cast<uint32_t>(one));
}

ATTN_CPU_KERNEL(one_hot, make_one_hot);

}  // namespace
}  // namespace attn::cpu
