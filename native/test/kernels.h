// Calls a CPU kernel on plain vectors: operands are copied to aligned, padded storage as the engine's are.
#pragma once

#include "cpu/targets.h"
//
#include <doctest/doctest.h>

#include <cstring>
#include <new>
#include <vector>

#include "cpu/kernel.h"
#include "cpu/vec.h"

namespace attn::cpu::test {

// 64-byte aligned, padded to 64 bytes, surrounded by bytes that a kernel has no business changing.
class Buffer {
 public:
  explicit Buffer(size_t bytes) : bytes_((bytes + 63) / 64 * 64) {
    data_ = static_cast<char*>(::operator new (bytes_ + 128, std::align_val_t{64})) + 64;
    std::memset(data_ - 64, 0x5a, bytes_ + 128);
  }
  Buffer(Buffer&& other) noexcept : bytes_(other.bytes_), data_(other.data_) { other.data_ = nullptr; }
  Buffer& operator=(Buffer&&) = delete;
  ~Buffer() {
    if (data_) ::operator delete (data_ - 64, std::align_val_t{64});
  }
  void* data() const { return data_; }
  bool guards_hold() const {
    for (size_t i = 0; i < 64; i++)
      if (data_[i - 64] != 0x5a || data_[bytes_ + i] != 0x5a) return false;
    return true;
  }

 private:
  size_t bytes_;
  char* data_;
};

template <class T>
Buffer buffer_of(const std::vector<T>& values) {
  Buffer b(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(b.data(), values.data(), values.size() * sizeof(T));
  return b;
}

// Runs a kernel once and returns its first output of `n` elements.
template <class Out>
std::vector<Out> run(const char* name, const std::vector<double>& attrs, const std::vector<Buffer>& inputs,
                     size_t n) {
  const Factory factory = find_kernel(name);
  REQUIRE_MESSAGE(static_cast<bool>(factory), name);
  Attrs packed(attrs);
  const Kernel kernel = factory(packed);
  Buffer out(n * sizeof(Out));
  std::vector<const void*> in;
  for (const Buffer& b : inputs) in.push_back(b.data());
  void* const outs[] = {out.data()};
  kernel({in, outs});
  CHECK(out.guards_hold());
  std::vector<Out> result(n);
  if (n) std::memcpy(result.data(), out.data(), n * sizeof(Out));
  return result;
}

template <class... B>
std::vector<Buffer> inputs(B&&... buffers) {
  std::vector<Buffer> list;
  (list.push_back(std::move(buffers)), ...);
  return list;
}

// Runs `fn` under each instruction set that the kernels were built for and this CPU has.
template <class F>
void on_each_target(F&& fn) {
  const int64_t supported = hwy::SupportedTargets();
  for (int64_t left = HWY_TARGETS & supported; left; left &= left - 1) {
    const int64_t target = left & -left;
    CAPTURE(hwy::TargetName(target));
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    fn();
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace attn::cpu::test
