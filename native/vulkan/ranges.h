// A set of half-open ranges on one 64-bit number line. Every slab owns a stretch of that line (Slab::base),
// so "does this binding touch memory that unfinished work touches?" is one search, whichever slab or Memory
// it was.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace attn::vulkan {

struct Range {
  uint64_t begin, end;
};

class Ranges {
 public:
  bool empty() const { return sorted_.empty(); }
  void clear() { sorted_.clear(); }

  bool overlaps(Range r) const {
    const auto at = first_ending_after(r.begin);
    return r.begin < r.end && at != sorted_.end() && at->begin < r.end;
  }

  // Joins what it overlaps or touches, so a loop over neighbouring tensors stays one range.
  void add(Range r) {
    if (r.begin >= r.end) return;
    auto first = std::lower_bound(sorted_.begin(), sorted_.end(), r.begin,
                                  [](const Range& a, uint64_t begin) { return a.end < begin; });
    auto last = first;
    for (; last != sorted_.end() && last->begin <= r.end; ++last) {
      r.begin = std::min(r.begin, last->begin);
      r.end = std::max(r.end, last->end);
    }
    if (first == last) {
      sorted_.insert(first, r);
    } else {
      *first = r;
      sorted_.erase(first + 1, last);
    }
  }

 private:
  std::vector<Range>::const_iterator first_ending_after(uint64_t begin) const {
    return std::lower_bound(sorted_.begin(), sorted_.end(), begin,
                            [](const Range& a, uint64_t b) { return a.end <= b; });
  }
  std::vector<Range> sorted_;  // disjoint, ascending
};

}  // namespace attn::vulkan
