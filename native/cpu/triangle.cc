// triangle {bytes of an element, all rows, rows of a matrix, columns, diagonal, upper}: x where column - row
// <= diagonal (upper: >=), 0 elsewhere.
#include <algorithm>
#include <cstring>

#include "kernel.h"
#include "team.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes that are worth a thread

Kernel make_triangle(Attrs& attrs) {
  const int64_t bytes = attrs.i(), all = attrs.i(), rows = attrs.i(), columns = attrs.i(),
                diagonal = attrs.i();
  const bool upper = attrs.b();
  const int64_t row_bytes = columns * bytes;
  if (all * row_bytes == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    parallel_for(all, std::max<int64_t>(1, kGrain / row_bytes), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        const char* x = static_cast<const char*>(args.in[0]) + r * row_bytes;
        char* y = static_cast<char*>(args.out[0]) + r * row_bytes;
        // The columns [first, last) stay.
        const int64_t edge = r % rows + diagonal;
        const int64_t first = upper ? std::clamp<int64_t>(edge, 0, columns) * bytes : 0;
        const int64_t last = upper ? row_bytes : std::clamp<int64_t>(edge + 1, 0, columns) * bytes;
        std::memset(y, 0, static_cast<size_t>(first));
        std::memcpy(y + first, x + first, static_cast<size_t>(last - first));
        std::memset(y + last, 0, static_cast<size_t>(row_bytes - last));
      }
    });
  };
}

ATTN_CPU_KERNEL(triangle, make_triangle);

}  // namespace
}  // namespace attn::cpu
