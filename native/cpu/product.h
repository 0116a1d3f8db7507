// What matmul and linear share of oneDNN, and products of blocks of rows: one thread each, so that a team can
// work on several blocks at once and do more with each while it is in that core's cache.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>

#include "../engine/types.h"
#include "onednn.h"

namespace attn::cpu {

dnnl::engine& onednn_engine();
dnnl::memory::data_type onednn_type(DType);

// Whether oneDNN multiplies operands of this dtype here: bfloat16 wants AVX-512, float16 never works.
bool onednn_multiplies(DType);

// A primitive and the memory objects that carry its operands' addresses: one for each thread.
class Call {
 public:
  Call();
  void own(const dnnl::primitive& primitive) { primitive_ = primitive; }
  void add(int argument, const dnnl::memory::desc& desc);
  // Addresses in the order of add(). Allocates nothing.
  void run(std::initializer_list<const void*> addresses);

 private:
  dnnl::primitive primitive_;
  dnnl::stream stream_;
  dnnl::memory memories_[5];
  dnnl_exec_arg_t arguments_[5];
  int count_ = 0;
};

// c [m, n] (+)= a b + bias, in whole matrices of oneDNN's: a [m, k], b [k, n], each stored as it is or
// transposed.
struct BlockProblem {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  DType in, out;
  bool accumulate;  // c += a b
  bool bias;
  DType bias_dtype;  // float32 or `in`
  bool packed;       // b comes in the layout that oneDNN likes best, from a Packing
};

// A product on the calling thread alone. Threads may run one at the same time, each with a Call of its own.
class BlockProduct {
 public:
  // `like`: a product whose packed b this one shares.
  explicit BlockProduct(const BlockProblem&, const BlockProduct* like = nullptr);
  Call call() const;  // addresses: a, b, c, scratch, and bias where there is one
  size_t scratch_bytes() const { return scratch_.get_size(); }
  const dnnl::memory::desc& b() const { return b_; }

 private:
  dnnl::primitive primitive_;
  dnnl::memory::desc a_, b_, c_, bias_, scratch_;
};

// Copies a matrix into the layout that a product wants its b in, on the team.
class Packing {
 public:
  // b [k, n] as its owner stores it, and a product for which it is to be packed.
  Packing(int64_t k, int64_t n, bool transposed, DType, const BlockProduct&);
  size_t bytes() const { return bytes_; }
  void run(const void* from, void* to) { call_.run({from, to}); }

 private:
  Call call_;
  size_t bytes_;
};

}  // namespace attn::cpu
