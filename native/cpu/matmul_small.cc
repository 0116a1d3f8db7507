// Small matmuls: rows x vectors of the output in registers, b read row by row, one thread.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul_small.cc"
#include "targets.h"
//
#include <hwy/foreach_target.h>
//
#include "masked.h"
#include "matmul.h"

#ifndef ATTN_MATMUL_SMALL
#define ATTN_MATMUL_SMALL
namespace attn::cpu {
// fp32 matrices: a by any strides, b and c row-major.
struct SmallProduct {
  const float *a, *b, *bias;
  float* c;
  int64_t m, n, k, a_row, a_col;
  bool relu;
};
}  // namespace attn::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace attn::cpu::HWY_NAMESPACE {
using D = hn::ScalableTag<float>;

// c[i .. i+Rows, j .. j+Vectors]: every step of k broadcasts Rows numbers of a against the vectors of b.
// Ragged: the columns end within the last vector, whose loads and stores are masked.
template <int Rows, int Vectors, bool Ragged>
HWY_INLINE void Tile(const SmallProduct& p, int64_t i, int64_t j) {
  const D d;
  const int64_t lanes = hn::Lanes(d);
  const int64_t last = (Vectors - 1) * lanes;  // where the last vector begins
  const auto left = static_cast<size_t>(Ragged ? p.n - j - last : lanes);
  const auto load_last = [&](const float* from) {
    return Ragged ? load_first(from + last, left) : hn::LoadU(d, from + last);
  };
  hn::Vec<D> first_sum[Rows], last_sum[Rows];
  for (int r = 0; r < Rows; ++r) first_sum[r] = last_sum[r] = hn::Zero(d);
  const float* a = p.a + i * p.a_row;
  const float* b = p.b + j;
  for (int64_t k = 0; k < p.k; ++k, a += p.a_col, b += p.n) {
    const auto b_last = load_last(b), b_first = Vectors == 2 ? hn::LoadU(d, b) : b_last;
    HWY_UNROLL(8)
    for (int r = 0; r < Rows; ++r) {
      const auto x = hn::Set(d, a[r * p.a_row]);
      if (Vectors == 2) first_sum[r] = hn::MulAdd(x, b_first, first_sum[r]);
      last_sum[r] = hn::MulAdd(x, b_last, last_sum[r]);
    }
  }
  const auto finish = [&](hn::Vec<D> v, hn::Vec<D> bias) {
    if (p.bias) v = hn::Add(v, bias);
    return p.relu ? hn::IfThenElse(hn::Lt(v, hn::Zero(d)), hn::Zero(d), v) : v;
  };
  const auto bias_last = p.bias ? load_last(p.bias + j) : hn::Zero(d);
  const auto bias_first = p.bias && Vectors == 2 ? hn::LoadU(d, p.bias + j) : hn::Zero(d);
  for (int r = 0; r < Rows; ++r) {
    float* const c = p.c + (i + r) * p.n + j;
    if (Vectors == 2) hn::StoreU(finish(first_sum[r], bias_first), d, c);
    if (Ragged)
      hn::BlendedStore(finish(last_sum[r], bias_last), hn::FirstN(d, left), d, c + last);
    else
      hn::StoreU(finish(last_sum[r], bias_last), d, c + last);
  }
}

template <int Vectors, bool Ragged>
HWY_INLINE void Columns(const SmallProduct& p, int64_t j) {
  constexpr int kRows = HWY_TARGET <= HWY_AVX3 ? 8 : 4;  // 32 registers or 16
  int64_t i = 0;
  for (; i + kRows <= p.m; i += kRows) Tile<kRows, Vectors, Ragged>(p, i, j);
  for (; i + 4 <= p.m; i += 4) Tile<4, Vectors, Ragged>(p, i, j);
  for (; i < p.m; ++i) Tile<1, Vectors, Ragged>(p, i, j);
}

void Multiply(const SmallProduct& p) {
  const int64_t lanes = hn::Lanes(D());
  int64_t j = 0;
  for (; j + 2 * lanes <= p.n; j += 2 * lanes) Columns<2, false>(p, j);
  const int64_t left = p.n - j;
  if (left > lanes) Columns<2, true>(p, j);
  if (left == lanes) Columns<1, false>(p, j);
  if (left > 0 && left < lanes) Columns<1, true>(p, j);
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "cpu/convert.h"

namespace attn::cpu {
HWY_EXPORT(Multiply);

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

// oneDNN costs 1 us and more from 20^3 on, this kernel 0.3 us at 32^3; each matrix of a batch costs it 20 ns
// more.
bool suits_small_matmul(const MatmulProblem& p) {
  if (p.activation != Activation::none && p.activation != Activation::relu) return false;
  constexpr int64_t kMost = 4096;  // elements of an operand: what stays in the first cache
  if (p.m > kMost || p.n > kMost || p.k > kMost || p.batches() > 32) return false;
  if (p.m * p.k > kMost || p.k * p.n > kMost || p.m * p.n > kMost) return false;
  return p.batches() * p.m * p.n * p.k <= (p.batches() == 1 ? 40 * 40 * 40 : 24 * 24 * 24);
}

Kernel make_small_matmul(const MatmulProblem& p) {
  const bool half_in = p.in != DType::f32, half_out = p.out != DType::f32;
  // Scratch: a, b and bias widened, b row-major, c before it is narrowed.
  const int64_t a = half_in ? p.m * p.k : 0, b = half_in ? p.k * p.n : 0, bias = half_in && p.bias ? p.n : 0;
  const int64_t turned = p.transpose_b ? p.k * p.n : 0, c = half_out ? p.m * p.n : 0;
  return [=, a_at = matrix_indices(p.batch, p.a_moves),
          b_at = matrix_indices(p.batch, p.b_moves)](const Operands& o) {
    float* const wide_a = matmul_scratch(Scratch::widened, static_cast<size_t>(a + b + bias + turned + c));
    float *const wide_b = wide_a + a, *const wide_bias = wide_b + b, *const turned_b = wide_bias + bias;
    float* const wide_c = turned_b + turned;
    SmallProduct s{};
    s.m = p.m, s.n = p.n, s.k = p.k;
    s.a_row = p.transpose_a ? 1 : p.k, s.a_col = p.transpose_a ? p.m : 1;
    s.relu = p.activation == Activation::relu;
    if (p.bias) s.bias = half_in ? wide_bias : static_cast<const float*>(o.in[2]);
    if (bias) halves_to_float(p.in, o.in[2], wide_bias, p.n);
    const auto matrix = [&](const void* base, int64_t at, int64_t size) {
      return static_cast<const char*>(base) + at * size * static_cast<int64_t>(size_of(p.in));
    };
    for (size_t i = 0; i < a_at.size(); ++i) {
      const bool fresh_a = i == 0 || a_at[i] != a_at[i - 1], fresh_b = i == 0 || b_at[i] != b_at[i - 1];
      const auto *raw_a = matrix(o.in[0], a_at[i], p.m * p.k), *raw_b = matrix(o.in[1], b_at[i], p.k * p.n);
      s.a = half_in ? wide_a : reinterpret_cast<const float*>(raw_a);
      s.b = half_in ? wide_b : reinterpret_cast<const float*>(raw_b);
      if (half_in && fresh_a) halves_to_float(p.in, raw_a, wide_a, p.m * p.k);
      if (half_in && fresh_b) halves_to_float(p.in, raw_b, wide_b, p.k * p.n);
      if (p.transpose_b) {
        if (fresh_b)
          for (int64_t y = 0; y < p.n; ++y)
            for (int64_t x = 0; x < p.k; ++x) turned_b[x * p.n + y] = s.b[y * p.k + x];
        s.b = turned_b;
      }
      const int64_t at = static_cast<int64_t>(i) * p.m * p.n;
      s.c = half_out ? wide_c : static_cast<float*>(o.out[0]) + at;
      HWY_DYNAMIC_DISPATCH(Multiply)(s);
      if (half_out) float_to_halves(p.out, wide_c, static_cast<uint16_t*>(o.out[0]) + at, c);
    }
  };
}

}  // namespace attn::cpu
#endif
