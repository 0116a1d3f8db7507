// Index arithmetic that kernels over several axes share: a linear index to an offset into strided storage.
#pragma once

#include <cstdint>
#include <vector>

namespace attn::cpu {

// A walk over dims (outermost first) whose axes step by strides, in elements.
struct Strided {
  std::vector<int64_t> dims, strides;

  int64_t count() const {
    int64_t n = 1;
    for (const int64_t d : dims) n *= d;
    return n;
  }

  int64_t offset(int64_t i) const {
    int64_t at = 0;
    for (size_t k = dims.size(); k-- > 1;) {
      at += i % dims[k] * strides[k];
      i /= dims[k];
    }
    return dims.empty() ? 0 : at + i * strides[0];
  }
};

// The offsets of a walk one after the other, from any start, without divisions.
class Odometer {
 public:
  Odometer(const Strided& walk, int64_t start) : walk_(walk), offset_(walk.offset(start)) {
    for (size_t k = walk.dims.size(); k-- > 0; start /= walk.dims[k]) index_[k] = start % walk.dims[k];
  }

  int64_t offset() const { return offset_; }

  void next() {
    for (size_t k = walk_.dims.size(); k-- > 0;) {
      offset_ += walk_.strides[k];
      if (++index_[k] < walk_.dims[k]) return;
      offset_ -= walk_.strides[k] * walk_.dims[k];
      index_[k] = 0;
    }
  }

 private:
  const Strided& walk_;
  int64_t offset_;
  int64_t index_[8] = {};
};

}  // namespace attn::cpu
