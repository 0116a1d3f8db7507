// Indices that come as data: which of them points outside, found by all threads, told once they are done.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>

#include "../engine/types.h"

namespace attn::cpu {

inline bool outside(int64_t index, int64_t size) {
  return static_cast<uint64_t>(index) >= static_cast<uint64_t>(size);  // negative ones too
}

class BadIndex {
 public:
  void at(int64_t position) {
    int64_t seen = first_.load();
    while (position < seen && !first_.compare_exchange_weak(seen, position)) {
    }
  }

  // Throws for the first position that was told. `what` is the index's name, `where` what it points into.
  void raise(const int32_t* index, int64_t size, const char* what, const std::string& where) const {
    const int64_t i = first_.load();
    if (i == std::numeric_limits<int64_t>::max()) return;
    throw Error(
        "ATTN_INDEX",
        std::string(what) + " " + std::to_string(index[i]) + " at position " + std::to_string(i) +
            " points outside " + where + " of size " + std::to_string(size),
        size == 0 ? "there is nothing to point to" : "they run from 0 to " + std::to_string(size - 1));
  }

 private:
  std::atomic<int64_t> first_{std::numeric_limits<int64_t>::max()};
};

}  // namespace attn::cpu
