// matmul on oneDNN: the primitive is made once for the problem, with bias and activation as its epilogue;
// a run swaps the operands' addresses and allocates nothing.
#include "matmul.h"

#include <cmath>
#include <cstdlib>
#include <memory>

#include "convert.h"
#include "product.h"
#include "team.h"

namespace attn::cpu {

MatmulProblem::MatmulProblem(Attrs& attrs)
    : in(attrs.dtype()),
      out(attrs.dtype()),
      activation(static_cast<Activation>(attrs.i())),
      bias(attrs.b()),
      m(attrs.i()),
      n(attrs.i()),
      k(attrs.i()),
      transpose_a(attrs.b()),
      transpose_b(attrs.b()),
      batch(attrs.list()) {
  for (auto* moves : {&a_moves, &b_moves})
    for (const int64_t flag : attrs.list()) moves->push_back(flag != 0);
}

int64_t MatmulProblem::batches() const {
  int64_t count = 1;
  for (const int64_t d : batch) count *= d;
  return count;
}

float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::relu:
      return x < 0 ? 0 : x;
    case Activation::gelu:
      return 0.5f * x * (1 + std::erf(x * 0.70710678f));
    case Activation::gelu_tanh:
      return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

float* matmul_scratch(Scratch use, size_t floats) {
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  struct Held {
    std::unique_ptr<float, Free> floats;
    size_t size = 0;
  };
  thread_local Held held[3];
  Held& h = held[static_cast<size_t>(use)];
  if (floats > h.size) {
    h.floats.reset();
    h.size = 0;
    h.floats.reset(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
    if (!h.floats)
      throw Error("ATTN_OUT_OF_MEMORY", "no room for the copies that matmul makes of its operands");
    h.size = floats;
  }
  return h.floats.get();
}

namespace {

using dnnl::memory;

// An operand of `rows` x `cols` matrices, stored transposed or not, of size 1 where it does not move.
memory::desc describe(const MatmulProblem& p, const std::vector<bool>* moves, int64_t rows, int64_t cols,
                      bool transposed, DType dtype) {
  const size_t rank = p.batch.size() + 2;
  memory::dims dims(rank), strides(rank);
  dims[rank - 2] = rows, dims[rank - 1] = cols;
  strides[rank - 2] = transposed ? 1 : cols, strides[rank - 1] = transposed ? rows : 1;
  int64_t step = rows * cols;
  for (size_t i = p.batch.size(); i-- > 0;) {
    dims[i] = moves && !(*moves)[i] ? 1 : p.batch[i];
    strides[i] = step;
    step *= dims[i];
  }
  return {dims, onednn_type(dtype), strides};
}

dnnl::primitive_attr epilogue(Activation activation) {
  dnnl::primitive_attr attr;
  if (activation == Activation::none) return attr;
  dnnl::post_ops ops;
  using dnnl::algorithm;
  const algorithm kinds[] = {algorithm::undef, algorithm::eltwise_relu, algorithm::eltwise_gelu_erf,
                             algorithm::eltwise_gelu_tanh, algorithm::eltwise_swish};
  const float alpha =
      activation == Activation::silu ? 1.0f : 0.0f;  // swish: x sigmoid(alpha x); relu: slope below 0
  onednn::append_eltwise(ops, kinds[static_cast<size_t>(activation)], alpha);
  attr.set_post_ops(ops);
  return attr;
}

// From here on it pays to copy a row-major b into the layout that oneDNN prefers, at each call: one core
// gains 3 % at 1024^3, 8-10 % at 2048^3, 11-19 % at 4096 x 768 x 3072, fp32 and bf16; below, or with b
// transposed, it loses.
bool worth_packing(const MatmulProblem& p) {
  constexpr int64_t kLeast = 1 << 20, kMost = 1 << 26;  // elements of b
  return p.batch.empty() && !p.transpose_b && p.m >= 1024 && p.k * p.n >= kLeast && p.k * p.n <= kMost;
}

class Product {
 public:
  explicit Product(const MatmulProblem& p) : bias_(p.bias) {
    const auto a = describe(p, &p.a_moves, p.m, p.k, p.transpose_a, p.in);
    const auto b = describe(p, &p.b_moves, p.k, p.n, p.transpose_b, p.in);
    const auto c = describe(p, nullptr, p.m, p.n, false, p.out);
    const auto asked =
        worth_packing(p) ? memory::desc(onednn::dims_of(b), onednn::type_of(b), memory::format_tag::any) : b;
    memory::desc bias;
    if (p.bias) {
      memory::dims dims(p.batch.size() + 2, 1), strides(dims.size(), p.n);
      dims.back() = p.n, strides.back() = 1;
      bias = {dims, onednn_type(p.in), strides};
    }
    const auto chosen =
        onednn::matmul(onednn_engine(), a, asked, p.bias ? &bias : nullptr, c, epilogue(p.activation));
    const auto weights = chosen.weights_desc();
    multiply_.own(dnnl::matmul(chosen));
    multiply_.add(DNNL_ARG_SRC, a);
    multiply_.add(DNNL_ARG_WEIGHTS, weights);
    multiply_.add(DNNL_ARG_DST, c);
    if (p.bias) multiply_.add(DNNL_ARG_BIAS, bias);
    if (weights == b) return;
    packed_bytes_ = weights.get_size();
    pack_.own(dnnl::reorder({onednn_engine(), b, onednn_engine(), weights}));
    pack_.add(DNNL_ARG_FROM, b);
    pack_.add(DNNL_ARG_TO, weights);
  }

  void run(std::span<const void* const> in, void* out) {
    const void* b = in[1];
    if (packed_bytes_ > 0) {
      float* const packed = matmul_scratch(Scratch::packed, (packed_bytes_ + 3) / 4);
      pack_.run({b, packed});
      b = packed;
    }
    if (bias_)
      multiply_.run({in[0], b, out, in[2]});
    else
      multiply_.run({in[0], b, out});
  }

 private:
  Call multiply_, pack_;
  bool bias_;
  size_t packed_bytes_ = 0;  // 0: b is read as it lies
};

int64_t elements(const MatmulProblem& p, const std::vector<bool>& moves, int64_t matrix) {
  for (size_t i = 0; i < moves.size(); ++i)
    if (moves[i]) matrix *= p.batch[i];
  return matrix;
}

// Halves that oneDNN cannot multiply here (float16; bfloat16 without AVX-512), through fp32 copies.
Kernel make_widened(const MatmulProblem& p) {
  MatmulProblem wide = p;
  wide.in = wide.out = DType::f32;
  const auto lines = [](int64_t n) { return (n + 15) / 16 * 16; };
  const int64_t a = elements(p, p.a_moves, p.m * p.k), b = elements(p, p.b_moves, p.k * p.n);
  const int64_t bias = p.bias ? p.n : 0, c = p.out == DType::f32 ? 0 : p.batches() * p.m * p.n;
  auto product = std::make_shared<Product>(wide);
  return [=, in = p.in, out = p.out](const Operands& o) {
    float* const fa =
        matmul_scratch(Scratch::widened, static_cast<size_t>(lines(a) + lines(b) + lines(bias) + lines(c)));
    float *const fb = fa + lines(a), *const fbias = fb + lines(b), *const fc = fbias + lines(bias);
    halves_to_float(in, o.in[0], fa, a);
    halves_to_float(in, o.in[1], fb, b);
    if (bias) halves_to_float(in, o.in[2], fbias, bias);
    const void* const operands[] = {fa, fb, fbias};
    product->run({operands, bias ? 3u : 2u}, c ? fc : o.out[0]);
    if (c) float_to_halves(out, fc, o.out[0], c);
  };
}

// K = 0: the product is 0, so every row is act(bias).
Kernel make_empty(const MatmulProblem& p) {
  return [p, rows = p.batches() * p.m](const Operands& o) {
    std::vector<float> row(static_cast<size_t>(p.n), 0.0f);
    if (p.bias && p.in == DType::f32) std::copy_n(static_cast<const float*>(o.in[2]), p.n, row.begin());
    if (p.bias && p.in != DType::f32) halves_to_float(p.in, o.in[2], row.data(), p.n);
    for (auto& x : row) x = activate(p.activation, x);
    parallel_for(rows, std::max<int64_t>(1, 4096 / p.n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        if (p.out == DType::f32)
          std::copy(row.begin(), row.end(), static_cast<float*>(o.out[0]) + r * p.n);
        else
          float_to_halves(p.out, row.data(), static_cast<uint16_t*>(o.out[0]) + r * p.n, p.n);
    });
  };
}

Kernel make(const MatmulProblem&);

// One column of output is one row of the transposed product, b' a', which oneDNN runs at twice the speed.
Kernel make_column(const MatmulProblem& p) {
  MatmulProblem row = p;
  row.m = 1, row.n = p.m;
  row.transpose_a = false, row.transpose_b = !p.transpose_a;
  std::swap(row.a_moves, row.b_moves);
  return [multiply = make(row)](const Operands& o) {
    const void* const swapped[] = {o.in[1], o.in[0]};
    multiply({swapped, o.out});
  };
}

Kernel make(const MatmulProblem& p) {
  if (p.batches() * p.m * p.n == 0) return [](const Operands&) {};
  if (p.k == 0) return make_empty(p);
  if (suits_small_matmul(p)) return make_small_matmul(p);
  if (p.n == 1 && p.m > 1 && !p.bias) return make_column(p);
  if (p.in == DType::f16) return make_widened(p);
  try {
    auto product = std::make_shared<Product>(p);
    return [product](const Operands& o) { product->run(o.in, o.out[0]); };
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented || p.in == DType::f32) throw;
    return make_widened(p);
  }
}

Kernel make_matmul(Attrs& attrs) try { return make(MatmulProblem(attrs)); } catch (const dnnl::error& error) {
  throw Error(error.status == dnnl_out_of_memory ? "ATTN_OUT_OF_MEMORY" : "ATTN_INTERNAL",
              std::string("oneDNN refused a matmul: ") + error.what());
}

ATTN_CPU_KERNEL(matmul, make_matmul);

}  // namespace
}  // namespace attn::cpu
