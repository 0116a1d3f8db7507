// linear_backward {dtype, dtype of dy, activation, rows, O, I, dx wanted, dW wanted, its dtype, dtype of db
// (1 + code, 0: not wanted)}: dz = dy act'(z), dx = dz W, dW = dz^T x, db = sums of the columns of dz.
//
// Each thread takes blocks of rows: a block's dz is made once, in the core's second cache, and both products
// and the sums read it there; it is never written to memory. dW and db gather in fp32 for each thread and are
// added in the threads' order at the end, so that results repeat.
#include <algorithm>
#include <cstring>

#include "blocks.h"
#include "convert.h"
#include "matmul.h"

namespace attn::cpu {
namespace {

struct Gradients {
  DType in, dy;
  Activation activation;
  int64_t rows, outer, inner;
  bool input, weight;
  DType weight_dtype;
  bool bias;
  DType bias_dtype;

  explicit Gradients(Attrs& a)
      : in(a.dtype()),
        dy(a.dtype()),
        activation(static_cast<Activation>(a.i())),
        rows(a.i()),
        outer(a.i()),
        inner(a.i()),
        input(a.b()),
        weight(a.b()),
        weight_dtype(a.dtype()) {
    const int64_t b = a.i();
    bias = b > 0;
    bias_dtype = static_cast<DType>(std::max<int64_t>(0, b - 1));
  }
};

// out = the sum of `count` lists of n numbers.
void add_up(const std::vector<const float*>& lists, DType dtype, void* out, int64_t n) {
  constexpr int64_t kGrain = 1 << 14, kChunk = 512;
  parallel_for(
      n, kGrain,
      [&](int64_t begin, int64_t end) {
        alignas(64) float sum[kChunk];
        for (int64_t first = begin; first < end; first += kChunk) {
          const int64_t count = std::min(kChunk, end - first);
          std::copy_n(lists[0] + first, count, sum);  // may be `out`
          for (size_t l = 1; l < lists.size(); ++l)
            for (int64_t i = 0; i < count; ++i) sum[i] += lists[l][first + i];
          if (dtype == DType::f32)
            std::copy_n(sum, count, static_cast<float*>(out) + first);
          else
            float_to_halves(dtype, sum, static_cast<uint16_t*>(out) + first, count);
        }
      },
      kChunk);
}

class Backward {
 public:
  explicit Backward(const Gradients& p)
      : p_(p),
        as_(multiplied_as(p.in)),
        makes_dz_(p.activation != Activation::none || p.dy != as_),
        narrows_dx_(p.in != as_),
        most_(block_rows(as_, p.outer + p.inner)),
        blocks_(cut_rows(p.rows, most_, kGrain / std::max<int64_t>(1, p.outer * p.inner) + 1)) {
    if (p.input)
      input_ = std::make_unique<BlockProducts>(blocks_, [&](int64_t rows) {
        return BlockProblem{rows,
                            p.inner,
                            p.outer,
                            false,
                            false,
                            as_,
                            narrows_dx_ ? DType::f32 : p.in,
                            false,
                            false,
                            DType::f32,
                            worth_packing_weight(p.rows)};
      });
    if (p.weight)
      weight_ = std::make_unique<BlockProducts>(blocks_, [&](int64_t rows) {
        return BlockProblem{p.outer,    p.inner, rows,  true,       false, as_,
                            DType::f32, true,    false, DType::f32, false};
      });
    const auto bytes = [](int64_t elements, DType t) { return static_cast<size_t>(elements) * size_of(t); };
    const int64_t rows = std::min(p.rows, most_);
    if (as_ != p.in && p.input) wide_weight_ = parts_.add(bytes(p.outer * p.inner, DType::f32));
    if (p.input && worth_packing_weight(p.rows)) {
      packing_ = std::make_unique<Packing>(p.outer, p.inner, false, as_, input_->any());
      packed_ = parts_.add(packing_->bytes());
    }
    for (size_t t = 0; t < blocks_.size(); ++t) {
      Own own{};
      if (makes_dz_) own.dz = parts_.add(bytes(rows * p.outer, as_));
      if (as_ != p.in && p.weight) own.x = parts_.add(bytes(rows * p.inner, as_));
      if (narrows_dx_ && p.input) own.dx = parts_.add(bytes(rows * p.inner, DType::f32));
      if (p.weight && !gathers_in_place(t)) own.weight = parts_.add(bytes(p.outer * p.inner, DType::f32));
      if (p.bias) own.bias = parts_.add(bytes(p.outer, DType::f32));
      own.scratch =
          parts_.add(std::max(input_ ? input_->scratch_bytes() : 0, weight_ ? weight_->scratch_bytes() : 0));
      own_.push_back(own);
    }
  }

  void run(const Operands& o) {
    char* const base = reinterpret_cast<char*>(matmul_scratch(Scratch::blocks, parts_.floats()));
    const void* weight = o.in[2];
    if (as_ != p_.in && p_.input) {
      halves_to_float(p_.in, weight, reinterpret_cast<float*>(base + wide_weight_), p_.outer * p_.inner);
      weight = base + wide_weight_;
    }
    if (packing_) {
      packing_->run(weight, base + packed_);
      weight = base + packed_;
    }
    parallel_for(static_cast<int64_t>(blocks_.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const Own& own = own_[static_cast<size_t>(t)];
        if (p_.weight)
          std::memset(share(o, base, static_cast<size_t>(t)), 0,
                      static_cast<size_t>(p_.outer * p_.inner) * 4);
        if (p_.bias) std::memset(base + own.bias, 0, static_cast<size_t>(p_.outer) * 4);
        for (const Block& b : blocks_[static_cast<size_t>(t)])
          block(o, static_cast<size_t>(t), b, weight, base);
      }
    });
    std::vector<const float*> weights, biases;
    for (size_t t = 0; t < own_.size(); ++t) {
      weights.push_back(share(o, base, t));
      biases.push_back(reinterpret_cast<const float*>(base + own_[t].bias));
    }
    const bool there = p_.weight_dtype == DType::f32 && weights.size() == 1;
    if (p_.weight && !there) add_up(weights, p_.weight_dtype, o.out[1], p_.outer * p_.inner);
    if (p_.bias) add_up(biases, p_.bias_dtype, o.out[2], p_.outer);
  }

 private:
  // Offsets of what a thread works in: dz, x and dx in fp32, its shares of dW and db, oneDNN's scratchpad.
  struct Own {
    size_t dz, x, dx, weight, bias, scratch;
  };

  // Where a thread gathers its share of dW: the first where it belongs, if that is fp32.
  bool gathers_in_place(size_t t) const { return t == 0 && p_.weight_dtype == DType::f32; }
  float* share(const Operands& o, char* base, size_t t) const {
    if (gathers_in_place(t)) return static_cast<float*>(o.out[1]);
    return reinterpret_cast<float*>(base + own_[t].weight);
  }

  void block(const Operands& o, size_t t, const Block& b, const void* weight, char* base) {
    const Own& own = own_[t];
    const auto at = [&](const void* p, DType dtype, int64_t columns) -> void* {
      return const_cast<char*>(static_cast<const char*>(p)) +
             b.first * columns * static_cast<int64_t>(size_of(dtype));
    };
    const void* const dy = at(o.in[0], p_.dy, p_.outer);
    const void* const z = p_.activation == Activation::none ? nullptr : at(o.in[3], p_.in, p_.outer);
    float* const sums = p_.bias ? reinterpret_cast<float*>(base + own.bias) : nullptr;
    const void* dz = dy;
    if (makes_dz_) dz = base + own.dz;
    if (makes_dz_ || sums)
      slope({p_.activation, p_.in, p_.dy, as_}, dy, z, makes_dz_ ? base + own.dz : nullptr, sums, b.rows,
            p_.outer);
    if (p_.input) {
      void* const dx = at(o.out[0], p_.in, p_.inner);
      void* const c = narrows_dx_ ? base + own.dx : dx;
      input_->call(t, b.rows).run({dz, weight, c, base + own.scratch});
      if (narrows_dx_) float_to_halves(p_.in, static_cast<const float*>(c), dx, b.rows * p_.inner);
    }
    if (!p_.weight) return;
    const void* x = at(o.in[1], p_.in, p_.inner);
    if (as_ != p_.in) {
      halves_to_float(p_.in, x, reinterpret_cast<float*>(base + own.x), b.rows * p_.inner);
      x = base + own.x;
    }
    weight_->call(t, b.rows).run({dz, x, share(o, base, t), base + own.scratch});
  }

  static constexpr int64_t kGrain = 1 << 18;  // multiply-adds of each product that are worth a thread

  Gradients p_;
  DType as_;         // what oneDNN multiplies
  bool makes_dz_;    // dz is not dy
  bool narrows_dx_;  // dx comes in fp32
  int64_t most_;     // rows of a block
  std::vector<std::vector<Block>> blocks_;
  std::unique_ptr<BlockProducts> input_, weight_;
  std::unique_ptr<Packing> packing_;
  Parts parts_;
  size_t wide_weight_ = 0, packed_ = 0;
  std::vector<Own> own_;
};

// Of no rows, no outputs or no inputs: sums of nothing, and of dz where it is there.
Kernel make_empty(const Gradients& p) {
  return [p](const Operands& o) {
    if (p.input) std::memset(o.out[0], 0, static_cast<size_t>(p.rows * p.inner) * size_of(p.in));
    if (p.weight) std::memset(o.out[1], 0, static_cast<size_t>(p.outer * p.inner) * size_of(p.weight_dtype));
    if (!p.bias) return;
    std::vector<float> sums(static_cast<size_t>(p.outer), 0.0f);
    slope({p.activation, p.in, p.dy, p.in}, o.in[0], p.activation == Activation::none ? nullptr : o.in[3],
          nullptr, sums.data(), p.rows, p.outer);
    add_up({sums.data()}, p.bias_dtype, o.out[2], p.outer);
  };
}

Kernel make_linear_backward(Attrs& attrs) try {
  const Gradients p(attrs);
  if (p.rows * p.outer * p.inner == 0) return make_empty(p);
  return [backward = std::make_shared<Backward>(p)](const Operands& o) { backward->run(o); };
} catch (const dnnl::error& error) {
  throw Error(error.status == dnnl_out_of_memory ? "ATTN_OUT_OF_MEMORY" : "ATTN_INTERNAL",
              std::string("oneDNN refused a product: ") + error.what());
}

ATTN_CPU_KERNEL(linear_backward, make_linear_backward);

}  // namespace
}  // namespace attn::cpu
