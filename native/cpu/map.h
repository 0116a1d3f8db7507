// What the element-wise kernels share: how work is split, when stores go past the caches, and the walk over
// broadcast operands.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "kernel.h"
#include "team.h"

namespace attn::cpu {

// Elements that repay a second thread: streaming maps, and maps of some twenty flops an element.
inline constexpr int64_t kMapGrain = 32768, kSpecialGrain = 4096;
// Chunks begin at multiples of this many elements: 64 bytes even where elements are bytes.
inline constexpr int64_t kMapAlign = 64;
// Whether an op that touches so many bytes should store past the caches: where they do not fit the last
// level, its output would only evict what it reads. More than 32 MiB of it is never one tenant's own.
inline bool past_caches(int64_t bytes) {
  static const int64_t limit = [] {
#ifdef _SC_LEVEL3_CACHE_SIZE
    const int64_t last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
#else
    const int64_t last_level = 0;  // not told by musl and macOS
#endif
    return std::min<int64_t>(last_level > 0 ? last_level : INT64_MAX, 32 << 20);
  }();
  return bytes > limit;
}

// Rows shorter than this are gathered into blocks before they are computed on.
inline constexpr int64_t kShortRow = 32;

// Operands stretched to one shape: strides in elements, 0 where stretched; axes collapsed, the last the
// fastest.
template <size_t kOperands>
class Broadcast {
 public:
  // Packed as shape, then one list of strides an operand.
  explicit Broadcast(Attrs& attrs) : shape_(attrs.list()) {
    for (auto& s : strides_) s = attrs.list();
    if (shape_.empty()) {
      shape_ = {1};
      for (auto& s : strides_) s = {0};
    }
    size_ = 1;
    for (int64_t d : shape_) size_ *= d;
  }

  int64_t size() const { return size_; }
  int64_t row() const { return shape_.back(); }  // elements of the innermost axis
  int64_t step(size_t k) const { return strides_[k].back(); }
  bool one_row() const { return shape_.size() == 1; }

  // Calls fn(offsets, at, n) for each run along the innermost axis inside [begin, end), in order: element
  // `at` of the output and `offsets[k]` of operand k are the first of n.
  template <class F>
  void rows(int64_t begin, int64_t end, F&& fn) const {
    const size_t rank = shape_.size();
    std::array<int64_t, 8> index{};
    std::array<int64_t, kOperands> offset{};
    int64_t rest = begin;
    for (size_t i = rank; i-- > 0;) {
      index[i] = rest % shape_[i];
      rest /= shape_[i];
      for (size_t k = 0; k < kOperands; k++) offset[k] += index[i] * strides_[k][i];
    }
    for (int64_t at = begin; at < end;) {
      const int64_t n = std::min(row() - index[rank - 1], end - at);
      fn(offset, at, n);
      at += n;
      // To the start of the next row: back along the innermost axis, then carry.
      for (size_t k = 0; k < kOperands; k++) offset[k] -= index[rank - 1] * strides_[k][rank - 1];
      index[rank - 1] = 0;
      for (size_t i = rank - 1; i-- > 0;) {
        for (size_t k = 0; k < kOperands; k++) offset[k] += strides_[k][i];
        if (++index[i] < shape_[i]) break;
        for (size_t k = 0; k < kOperands; k++) offset[k] -= shape_[i] * strides_[k][i];
        index[i] = 0;
      }
    }
  }

  // As rows(), for rows too short to vectorise: gathers kBlock elements of every operand into buffers of its
  // own and calls fn(buffers, at, n) with n <= kBlock contiguous elements of each.
  static constexpr int64_t kBlock = 512;
  template <class... T, class F>
  void blocks(int64_t begin, int64_t end, const std::tuple<const T*...>& operands, F&& fn) const {
    std::tuple<std::array<T, kBlock>...> buffers;
    for (int64_t first = begin; first < end; first += kBlock) {
      const int64_t last = std::min(end, first + kBlock);
      rows(first, last, [&](const auto& offset, int64_t at, int64_t n) {
        [&]<size_t... k>(std::index_sequence<k...>) {
          (...,
           gather(std::get<k>(operands) + offset[k], step(k), std::get<k>(buffers).data() + (at - first), n));
        }
        (std::index_sequence_for<T...>{});
      });
      fn(buffers, first, last - first);
    }
  }

 private:
  template <class T>
  static void gather(const T* from, int64_t step, T* to, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = from[j * step];
  }

  std::vector<int64_t> shape_;
  std::array<std::vector<int64_t>, kOperands> strides_;
  int64_t size_;
};

}  // namespace attn::cpu
