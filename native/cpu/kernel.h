// A CPU kernel: made once for an op, its shapes and attributes, then run many times.
//
// src/ops/<op>.ts names the kernel and packs its attributes into doubles (integers are exact to 2^53);
// the factory unpacks them in the same order and returns the closure that does the work.
// Kernels run on the executor thread, one at a time, and may use its team (team.h).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../engine/types.h"

namespace attn::cpu {

struct Operands {
  std::span<const void* const> in;  // 64-byte aligned, contiguous, never null (sizes of 0 included)
  std::span<void* const> out;       // likewise; padded to 64 bytes, so whole vectors may be stored at the end
};

using Kernel = std::function<void(const Operands&)>;

// Reads packed attributes in order; running past the end is an error in the op's packing.
class Attrs {
 public:
  explicit Attrs(std::span<const double> values) : values_(values) {}
  double f() {
    if (next_ == values_.size()) throw Error("ATTN_INTERNAL", "kernel attributes ran out");
    return values_[next_++];
  }
  int64_t i() { return static_cast<int64_t>(f()); }
  bool b() { return f() != 0; }
  DType dtype() { return static_cast<DType>(i()); }
  std::vector<int64_t> list() {  // packed as its length, then its values
    std::vector<int64_t> out(static_cast<size_t>(i()));
    for (auto& v : out) v = i();
    return out;
  }

 private:
  std::span<const double> values_;
  size_t next_ = 0;
};

using Factory = Kernel (*)(Attrs&);

bool register_kernel(const char* name, Factory factory);  // returns true, to initialise a static
Factory find_kernel(std::string_view name);               // nullptr when unknown
std::vector<std::string> kernel_names();

}  // namespace attn::cpu

// At namespace scope of a kernel file: ATTN_CPU_KERNEL(softmax, make_softmax);
#define ATTN_CPU_KERNEL(name, factory) \
  [[maybe_unused]] static const bool attn_kernel_##name = ::attn::cpu::register_kernel(#name, factory)
