// Small matmuls: rows x vectors of the output in registers, b read row by row, one thread.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul_small.cc"
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

#include "cpu/matmul.h"

#ifndef ATTN_MATMUL_SMALL
#define ATTN_MATMUL_SMALL
namespace attn::cpu {
// fp32 matrices: a by any strides, b and c row-major with b's rows padded to whole vectors.
struct SmallProduct {
  const float *a, *b, *bias;
  float* c;
  int64_t m, n, k, a_row, a_col, b_row;
  bool relu;
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;

// c[i .. i+Rows, j .. j+2 vectors]: every step of k broadcasts Rows numbers of a against two vectors of b.
template <int Rows>
HWY_INLINE void Tile(const SmallProduct& p, int64_t i, int64_t j) {
  const D d;
  const int64_t lanes = hn::Lanes(d);
  const bool two = j + lanes < p.n;
  const int64_t next = two ? lanes : 0;  // with one vector left the second repeats the first
  hn::Vec<D> acc0[Rows], acc1[Rows];
  for (int r = 0; r < Rows; ++r) acc0[r] = acc1[r] = hn::Zero(d);
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (int64_t k = 0; k < p.k; ++k, a += p.a_col, b += p.b_row) {
    const auto b0 = hn::LoadU(d, b), b1 = hn::LoadU(d, b + next);
    HWY_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
      const auto x = hn::Set(d, a[r * p.a_row]);
      acc0[r] = hn::MulAdd(x, b0, acc0[r]);
      acc1[r] = hn::MulAdd(x, b1, acc1[r]);
    }
  }
  const auto finish = [&](hn::Vec<D> v, int64_t row, int64_t col) {
    const int64_t left = p.n - col;
    const auto mask = hn::FirstN(d, static_cast<size_t>(std::min(left, lanes)));
    if (p.bias) v = hn::Add(v, hn::MaskedLoad(mask, d, p.bias + col));
    if (p.relu) v = hn::IfThenElse(hn::Lt(v, hn::Zero(d)), hn::Zero(d), v);
    float* const c = p.c + row * p.n + col;
    if (left >= lanes)
      hn::StoreU(v, d, c);
    else
      hn::BlendedStore(v, mask, d, c);
  };
  for (int r = 0; r < Rows; ++r) {
    finish(acc0[r], i + r, j);
    if (two) finish(acc1[r], i + r, j + lanes);
  }
}

void Multiply(const SmallProduct& p) {
  constexpr int kRows = HWY_TARGET <= HWY_AVX3 ? 8 : 4;  // 32 registers or 16
  const int64_t step = 2 * static_cast<int64_t>(hn::Lanes(D()));
  for (int64_t j = 0; j < p.n; j += step) {
    int64_t i = 0;
    for (; i + kRows <= p.m; i += kRows) Tile<kRows>(p, i, j);
    for (; i + 4 <= p.m; i += 4) Tile<4>(p, i, j);
    for (; i < p.m; ++i) Tile<1>(p, i, j);
  }
}

int64_t VectorFloats() { return static_cast<int64_t>(hn::Lanes(D())); }

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/convert.h"

namespace attn::cpu {
HWY_EXPORT(Multiply);
HWY_EXPORT(VectorFloats);

namespace {

// Offset, in matrices, of an operand's matrix for each batch.
std::vector<int64_t> matrix_indices(const std::vector<int64_t>& batch, const std::vector<bool>& moves) {
  std::vector<int64_t> indices{0};
  for (size_t axis = 0; axis < batch.size(); ++axis) {
    std::vector<int64_t> next;
    for (const int64_t at : indices)
      for (int64_t i = 0; i < batch[axis]; ++i) next.push_back(moves[axis] ? at * batch[axis] + i : at);
    indices = std::move(next);
  }
  return indices;
}

}  // namespace

bool suits_small_matmul(const MatmulProblem& p) {
  if (p.activation != Activation::none && p.activation != Activation::relu) return false;
  constexpr int64_t kMost = 4096;  // elements of an operand: what stays in the first cache
  if (p.m > kMost || p.n > kMost || p.k > kMost || p.batches() > kMost) return false;
  return p.m * p.k <= kMost && p.k * p.n <= kMost && p.m * p.n <= kMost &&
         p.batches() * p.m * p.n * p.k <= 32 * 32 * 32;
}

Kernel make_small_matmul(const MatmulProblem& p) {
  const int64_t lanes = HWY_DYNAMIC_DISPATCH(VectorFloats)();
  const int64_t padded = (p.n + lanes - 1) / lanes * lanes;
  const bool half_in = p.in != DType::f32, half_out = p.out != DType::f32;
  const bool repack = p.transpose_b || padded != p.n;
  // Scratch: a, b and bias widened, b with padded rows, c before it is narrowed.
  const int64_t a = half_in ? p.m * p.k : 0, b = half_in ? p.k * p.n : 0, bias = half_in && p.bias ? p.n : 0;
  const int64_t rows = repack ? p.k * padded : 0, c = half_out ? p.m * p.n : 0;
  return [=, a_at = matrix_indices(p.batch, p.a_moves),
          b_at = matrix_indices(p.batch, p.b_moves)](const Operands& o) {
    float* const wide_a = matmul_scratch(static_cast<size_t>(a + b + bias + rows + c));
    float *const wide_b = wide_a + a, *const wide_bias = wide_b + b, *const wide_rows = wide_bias + bias;
    float* const wide_c = wide_rows + rows;
    SmallProduct s{.a = nullptr,
                   .b = nullptr,
                   .bias = nullptr,
                   .c = wide_c,
                   .m = p.m,
                   .n = p.n,
                   .k = p.k,
                   .a_row = p.transpose_a ? 1 : p.k,
                   .a_col = p.transpose_a ? p.m : 1,
                   .b_row = repack ? padded : p.n,
                   .relu = p.activation == Activation::relu};
    if (p.bias) s.bias = half_in ? wide_bias : static_cast<const float*>(o.in[2]);
    if (bias) halves_to_float(p.in, o.in[2], wide_bias, p.n);
    const auto matrix = [&](const void* base, int64_t at, int64_t size) {
      return static_cast<const char*>(base) + at * size * static_cast<int64_t>(size_of(p.in));
    };
    for (size_t i = 0; i < a_at.size(); ++i) {
      const auto *raw_a = matrix(o.in[0], a_at[i], p.m * p.k), *raw_b = matrix(o.in[1], b_at[i], p.k * p.n);
      s.a = half_in ? wide_a : reinterpret_cast<const float*>(raw_a);
      s.b = half_in ? wide_b : reinterpret_cast<const float*>(raw_b);
      if (half_in && (i == 0 || a_at[i] != a_at[i - 1])) halves_to_float(p.in, raw_a, wide_a, p.m * p.k);
      const bool fresh_b = i == 0 || b_at[i] != b_at[i - 1];
      if (half_in && fresh_b) halves_to_float(p.in, raw_b, wide_b, p.k * p.n);
      if (repack) {
        const int64_t row = p.transpose_b ? 1 : p.n, col = p.transpose_b ? p.k : 1;
        if (fresh_b)
          for (int64_t y = 0; y < p.k; ++y)
            for (int64_t x = 0; x < p.n; ++x) wide_rows[y * padded + x] = s.b[y * row + x * col];
        s.b = wide_rows;
      }
      const int64_t at = static_cast<int64_t>(i) * p.m * p.n;
      if (!half_out) s.c = static_cast<float*>(o.out[0]) + at;
      HWY_DYNAMIC_DISPATCH(Multiply)(s);
      if (half_out) float_to_halves(p.out, wide_c, static_cast<uint16_t*>(o.out[0]) + at, c);
    }
  };
}

}  // namespace attn::cpu
#endif
