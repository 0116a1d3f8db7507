// Rows cut into blocks for the threads of the team, and the memory that each thread works in.
#pragma once

#include <vector>

#include "product.h"
#include "team.h"

namespace attn::cpu {

struct Block {
  int64_t first, rows;
};

// One list of blocks a thread, of at most `most` rows each; the split depends on the rows and the team alone.
// `grain`: rows that are worth a thread.
std::vector<std::vector<Block>> cut_rows(int64_t rows, int64_t most, int64_t grain);

// Rows of a block of so many columns in all: what takes half of a second cache of 1 MB, so that the block is
// read from memory once; fewer pay oneDNN's microsecond a call too often.
inline int64_t block_rows(DType t, int64_t columns) {
  constexpr int64_t kBytes = 512 << 10;
  return std::clamp<int64_t>(kBytes / (columns * static_cast<int64_t>(size_of(t))) / 32 * 32, 96, 1024);
}

// A product for each number of rows that blocks have, and calls of them for each thread.
class BlockProducts {
 public:
  // `problem` of a block with so many rows.
  template <class F>
  BlockProducts(const std::vector<std::vector<Block>>& blocks, F&& problem) {
    for (const auto& thread : blocks) {
      std::map<int64_t, Call> calls;
      for (const Block& b : thread) {
        auto found = products_.find(b.rows);
        if (found == products_.end()) {
          const BlockProduct* const like = products_.empty() ? nullptr : &any();
          found = products_.emplace(b.rows, BlockProduct(problem(b.rows), like)).first;
        }
        if (!calls.count(b.rows)) calls.emplace(b.rows, found->second.call());
        scratch_ = std::max(scratch_, found->second.scratch_bytes());
      }
      calls_.push_back(std::move(calls));
    }
  }
  Call& call(size_t thread, int64_t rows) { return calls_[thread].find(rows)->second; }
  size_t scratch_bytes() const { return scratch_; }
  const BlockProduct& any() const { return products_.begin()->second; }

 private:
  std::map<int64_t, BlockProduct> products_;
  std::vector<std::map<int64_t, Call>> calls_;
  size_t scratch_ = 0;
};

// Parts of one allocation, each on a cache line of its own.
class Parts {
 public:
  // Bytes to offset.
  size_t add(size_t bytes) {
    const size_t at = bytes_;
    bytes_ += (bytes + 63) / 64 * 64;
    return at;
  }
  size_t floats() const { return bytes_ / sizeof(float); }

 private:
  size_t bytes_ = 0;
};

// Where so many rows meet one weight, packing it costs less than it gains: 0.26 ns an element and core,
// against 5 % of 2 rows / 265 GFLOP/s (fp32; bf16 takes half the time and gains 5 to 7 %).
inline bool worth_packing_weight(int64_t rows) { return rows >= 1024; }

// A matrix that kernels read as fp32, or as it is where oneDNN multiplies its dtype.
inline DType multiplied_as(DType t) { return onednn_multiplies(t) ? t : DType::f32; }

}  // namespace attn::cpu
