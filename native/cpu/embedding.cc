// embedding {bytes of a row, rows, ids}: out[i, :] = weight[ids[i], :].
#include <algorithm>
#include <cstring>

#include "index.h"
#include "kernel.h"
#include "team.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes that are worth a thread

Kernel make_embedding(Attrs& attrs) {
  const int64_t bytes = attrs.i(), rows = attrs.i(), n = attrs.i();
  if (bytes == 0) return [](const Operands&) {};
  return [=](const Operands& args) {
    const char* weight = static_cast<const char*>(args.in[0]);
    const int32_t* ids = static_cast<const int32_t*>(args.in[1]);
    char* out = static_cast<char*>(args.out[0]);
    BadIndex bad;
    parallel_for(n, std::max<int64_t>(1, kGrain / bytes), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        if (outside(ids[i], rows)) {
          bad.at(i);
          std::memset(out + i * bytes, 0, static_cast<size_t>(bytes));
        } else {
          std::memcpy(out + i * bytes, weight + ids[i] * bytes, static_cast<size_t>(bytes));
        }
      }
    });
    bad.raise(ids, rows, "id", "a table");
  };
}

ATTN_CPU_KERNEL(embedding, make_embedding);

}  // namespace
}  // namespace attn::cpu
