// linear {dtype, dtype of y, activation, rows, O, I, dtypes of bias and residual (1 + code, 0: none)}:
// z = x W^T + bias, y = act(z) + residual.
//
// Each thread takes blocks of rows: oneDNN multiplies one on that thread alone, and the activation and the
// residual are applied while its z is still in the core's second cache, so that they cost no pass over
// memory.
//
// What oneDNN 2.6 reaches on one Zen 5 core with operands in its caches, in % of the FMA peak (265 GFLOP/s in
// fp32, twice that in bf16), for blocks of 64, 128 and 256 rows of weights 768 x 256, 256 x 256, 1024 x 256:
//   x W^T   87 91 96, W packed 98 97 99   bf16 88 92 97, W packed 98 97 99
//   dz W    93 96 98, W packed 97 97 98   bf16 87 91 96, W packed 97 97 99
//   dz^T x  91 93 93                      bf16 90 91 93
// Over 4096 rows, on both cores, layers of these sizes reach 87-93 forward and 78-89 backward with the sums
// for the bias, fp32 and bf16; with gelu and both of its outputs 77-79 and 73-79. The same steps as ops of
// their own, one after the other and without those sums and z, take 0.98-1.13 and 0.99-1.11 times as long; at
// 512 rows of 64 columns, 0.96-1.3 and 0.89-0.99.
#include <algorithm>
#include <cstring>

#include "blocks.h"
#include "convert.h"
#include "matmul.h"

namespace attn::cpu {
namespace {

struct Linear {
  DType in, out;
  Activation activation;
  int64_t rows, outer, inner;
  bool bias, residual;
  DType bias_dtype, residual_dtype;

  explicit Linear(Attrs& a)
      : in(a.dtype()),
        out(a.dtype()),
        activation(static_cast<Activation>(a.i())),
        rows(a.i()),
        outer(a.i()),
        inner(a.i()) {
    const int64_t b = a.i(), r = a.i();
    bias = b > 0, residual = r > 0;
    bias_dtype = static_cast<DType>(std::max<int64_t>(0, b - 1));
    residual_dtype = static_cast<DType>(std::max<int64_t>(0, r - 1));
  }
};

class Forward {
 public:
  explicit Forward(const Linear& p)
      : p_(p),
        as_(multiplied_as(p.in)),
        most_(block_rows(as_, p.outer + p.inner)),
        blocks_(cut_rows(p.rows, most_, kGrain / std::max<int64_t>(1, p.outer * p.inner) + 1)),
        bias_as_(p.bias_dtype == as_ ? as_ : DType::f32),
        finishes_(p.activation != Activation::none || p.residual || p.out == DType::f16 ||
                  (p.out != as_ && p.out != DType::f32)),
        in_place_(finishes_ && p.in == DType::f32),
        products_(blocks_, [&](int64_t rows) {
          return BlockProblem{rows,
                              p.outer,
                              p.inner,
                              false,
                              true,
                              as_,
                              finishes_ ? DType::f32 : p.out,
                              false,
                              p.bias,
                              bias_as_,
                              worth_packing_weight(p.rows)};
        }) {
    const size_t outer = static_cast<size_t>(p.outer), inner = static_cast<size_t>(p.inner);
    const size_t rows = static_cast<size_t>(std::min(p.rows, most_));
    if (as_ != p.in) weight_ = parts_.add(outer * inner * 4);
    if (p.bias && bias_as_ != p.bias_dtype) bias_ = parts_.add(outer * 4);
    if (worth_packing_weight(p.rows)) {
      packing_ = std::make_unique<Packing>(p.inner, p.outer, true, as_, products_.any());
      packed_ = parts_.add(packing_->bytes());
    }
    for (size_t t = 0; t < blocks_.size(); ++t) {
      Own own{};
      if (as_ != p.in) own.x = parts_.add(rows * inner * 4);
      if (finishes_ && !in_place_) own.c = parts_.add(rows * outer * 4);
      own.scratch = parts_.add(products_.scratch_bytes());
      own_.push_back(own);
    }
  }

  void run(const Operands& o) {
    char* const base = reinterpret_cast<char*>(matmul_scratch(Scratch::blocks, parts_.floats()));
    const void *weight = o.in[1], *bias = p_.bias ? o.in[2] : nullptr;
    if (as_ != p_.in) {
      halves_to_float(p_.in, weight, reinterpret_cast<float*>(base + weight_), p_.outer * p_.inner);
      weight = base + weight_;
    }
    if (packing_) {
      packing_->run(weight, base + packed_);
      weight = base + packed_;
    }
    if (p_.bias && bias_as_ != p_.bias_dtype) {
      halves_to_float(p_.bias_dtype, bias, reinterpret_cast<float*>(base + bias_), p_.outer);
      bias = base + bias_;
    }
    parallel_for(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        for (const Block& b : blocks_[static_cast<size_t>(t)])
          block(o, static_cast<size_t>(t), b, weight, bias, base);
    });
  }

 private:
  // Offsets of what a thread works in: x in fp32, the product, oneDNN's scratchpad.
  struct Own {
    size_t x, c, scratch;
  };

  void block(const Operands& o, size_t t, const Block& b, const void* weight, const void* bias, char* base) {
    const Own& own = own_[t];
    const auto at = [&](const void* p, DType dtype, int64_t columns) {
      return const_cast<char*>(static_cast<const char*>(p)) +
             b.first * columns * static_cast<int64_t>(size_of(dtype));
    };
    const void* x = at(o.in[0], p_.in, p_.inner);
    if (as_ != p_.in) {
      halves_to_float(p_.in, x, reinterpret_cast<float*>(base + own.x), b.rows * p_.inner);
      x = base + own.x;
    }
    void* const y = at(o.out[0], p_.out, p_.outer);
    void* const z = p_.activation == Activation::none ? nullptr : at(o.out[1], p_.in, p_.outer);
    void* const c = !finishes_ ? y : !in_place_ ? base + own.c : z ? z : y;
    Call& call = products_.call(t, b.rows);
    if (bias)
      call.run({x, weight, c, base + own.scratch, bias});
    else
      call.run({x, weight, c, base + own.scratch});
    if (!finishes_) return;
    const void* const residual = p_.residual ? at(o.in[3], p_.residual_dtype, p_.outer) : nullptr;
    finish({p_.activation, p_.in, p_.out, p_.residual_dtype}, static_cast<const float*>(c),
           in_place_ ? nullptr : z, residual, y, b.rows * p_.outer);
  }

  static constexpr int64_t kGrain = 1 << 19;  // multiply-adds that are worth a thread

  Linear p_;
  DType as_;      // what oneDNN multiplies
  int64_t most_;  // rows of a block
  std::vector<std::vector<Block>> blocks_;
  DType bias_as_;
  bool finishes_;  // the product is not y yet
  bool in_place_;  // it is written where z belongs, or y
  BlockProducts products_;
  std::unique_ptr<Packing> packing_;
  Parts parts_;
  size_t weight_ = 0, packed_ = 0, bias_ = 0;
  std::vector<Own> own_;
};

// I = 0: every row of z is the bias.
Kernel make_empty(const Linear& p) {
  return [p](const Operands& o) {
    std::vector<float> row(static_cast<size_t>(p.outer), 0.0f);
    if (p.bias && p.bias_dtype == DType::f32) std::memcpy(row.data(), o.in[2], row.size() * 4);
    if (p.bias && p.bias_dtype != DType::f32) halves_to_float(p.bias_dtype, o.in[2], row.data(), p.outer);
    const auto at = [&](const void* base, DType t, int64_t r) -> void* {
      return const_cast<char*>(static_cast<const char*>(base)) +
             r * p.outer * static_cast<int64_t>(size_of(t));
    };
    for (int64_t r = 0; r < p.rows; ++r)
      finish({p.activation, p.in, p.out, p.residual_dtype}, row.data(),
             p.activation == Activation::none ? nullptr : at(o.out[1], p.in, r),
             p.residual ? at(o.in[3], p.residual_dtype, r) : nullptr, at(o.out[0], p.out, r), p.outer);
  };
}

Kernel make_linear(Attrs& attrs) try {
  const Linear p(attrs);
  if (p.rows * p.outer == 0) return [](const Operands&) {};
  if (p.inner == 0) return make_empty(p);
  return [forward = std::make_shared<Forward>(p)](const Operands& o) { forward->run(o); };
} catch (const dnnl::error& error) {
  throw Error(error.status == dnnl_out_of_memory ? "ATTN_OUT_OF_MEMORY" : "ATTN_INTERNAL",
              std::string("oneDNN refused a product: ") + error.what());
}

ATTN_CPU_KERNEL(linear, make_linear);

}  // namespace
}  // namespace attn::cpu
