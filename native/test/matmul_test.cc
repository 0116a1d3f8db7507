#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "cpu/convert.h"
#include "cpu/matmul.h"
#include "cpu/team.h"
#include "kernels.h"

using namespace attn;
using namespace attn::cpu;

namespace {

struct Case {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, bias = false;
  Activation activation = Activation::none;
  std::vector<int64_t> batch{}, a_moves{}, b_moves{};
};

// An aligned array of a dtype, padded as the engine pads it.
struct Array {
  Array(DType dtype, int64_t n) : dtype(dtype), n(n) {
    const size_t bytes = (static_cast<size_t>(n) * size_of(dtype) + 64) / 64 * 64;
    data = std::aligned_alloc(64, bytes);
    std::memset(data, 0xff, bytes);  // NaN everywhere: whatever is not written shows
  }
  ~Array() { std::free(data); }
  Array(const Array&) = delete;

  void fill(const std::vector<float>& v) {
    if (dtype == DType::f32)
      std::copy(v.begin(), v.end(), static_cast<float*>(data));
    else
      float_to_halves(dtype, v.data(), data, n);
  }
  std::vector<double> values() const {
    std::vector<float> wide(static_cast<size_t>(n));
    if (dtype == DType::f32)
      std::copy_n(static_cast<const float*>(data), n, wide.begin());
    else
      halves_to_float(dtype, data, wide.data(), n);
    return {wide.begin(), wide.end()};
  }
  DType dtype;
  int64_t n;
  void* data;
};

double activated(Activation a, double x) {
  switch (a) {
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::silu:
      return x / (1 + std::exp(-x));
    default:
      return x;
  }
}

// Largest error relative to max(1, |exact|), against double arithmetic on the rounded inputs.
double worst_error(const Case& c, DType in, DType out) {
  std::vector<double> attrs{double(in),     double(out),           double(c.activation),
                            double(c.bias), double(c.m),           double(c.n),
                            double(c.k),    double(c.transpose_a), double(c.transpose_b)};
  for (const auto* list : {&c.batch, &c.a_moves, &c.b_moves}) {
    attrs.push_back(double(list->size()));
    attrs.insert(attrs.end(), list->begin(), list->end());
  }
  Attrs packed(attrs);
  const Kernel kernel = find_kernel("matmul")(packed);

  int64_t batches = 1, a_count = c.m * c.k, b_count = c.k * c.n;
  for (size_t i = 0; i < c.batch.size(); ++i) {
    batches *= c.batch[i];
    if (c.a_moves[i]) a_count *= c.batch[i];
    if (c.b_moves[i]) b_count *= c.batch[i];
  }
  std::mt19937 random(7);
  std::uniform_real_distribution<float> draw(-1, 1);
  const auto drawn = [&](Array& array) {
    std::vector<float> v(static_cast<size_t>(array.n));
    for (auto& x : v) x = draw(random);
    array.fill(v);
  };
  Array a(in, a_count), b(in, b_count), bias(in, c.n), result(out, batches * c.m * c.n);
  drawn(a), drawn(b), drawn(bias);
  const void* inputs[] = {a.data, b.data, bias.data};
  void* outputs[] = {result.data};
  kernel({{inputs, c.bias ? 3u : 2u}, outputs});

  const auto va = a.values(), vb = b.values(), vbias = bias.values(), got = result.values();
  double worst = 0;
  for (int64_t batch = 0; batch < batches; ++batch) {
    int64_t ia = 0, ib = 0, rest = batch, step = batches;
    for (size_t i = 0; i < c.batch.size(); ++i) {
      step /= c.batch[i];
      const int64_t at = rest / step;
      rest %= step;
      if (c.a_moves[i]) ia = ia * c.batch[i] + at;
      if (c.b_moves[i]) ib = ib * c.batch[i] + at;
    }
    const int64_t stride = c.m * c.n * c.k > 100'000'000 ? 97 : 1;  // of a large result, some rows
    for (int64_t i = 0; i < c.m; i += stride)
      for (int64_t j = 0; j < c.n; ++j) {
        double sum = c.bias ? vbias[j] : 0;
        for (int64_t k = 0; k < c.k; ++k)
          sum += va[ia * c.m * c.k + (c.transpose_a ? k * c.m + i : i * c.k + k)] *
                 vb[ib * c.k * c.n + (c.transpose_b ? j * c.k + k : k * c.n + j)];
        const double exact = activated(c.activation, sum);
        const double error =
            std::abs(got[(batch * c.m + i) * c.n + j] - exact) / std::max(1.0, std::abs(exact));
        worst = error <= worst ? worst : error;  // a NaN becomes the worst
      }
  }
  return worst;
}

const std::vector<Case> cases = [] {
  std::vector<Case> all{
      {1, 1, 1},    {17, 33, 65}, {3, 5, 0, false, false, true}, {4, 70000, 0, false, false, true},
      {1, 300, 70}, {300, 1, 70}, {70, 1, 300, true, true},      {300, 1, 70, false, false, true},
      {2000, 5, 3}};
  for (int layout = 0; layout < 4; ++layout)
    for (const int64_t n : {7, 32, 130})
      all.push_back({n + 1, n, n + 3, (layout & 1) != 0, (layout & 2) != 0});
  for (int kind = 0; kind <= 4; ++kind)
    for (const int64_t n : {9, 96})
      all.push_back({n, n + 2, n, false, false, true, static_cast<Activation>(kind)});
  for (const int64_t n : {5, 40}) {
    all.push_back({n, n, n, false, true, true, Activation::none, {6}, {1}, {1}});
    all.push_back({n, n, n, true, false, false, Activation::none, {6}, {1}, {0}});
    all.push_back({40 * n, 1, n, true, false, false, Activation::relu, {2, 3}, {1, 1}, {0, 1}});
    all.push_back({n, n, n, false, false, false, Activation::none, {2, 3}, {0, 1}, {1, 0}});
    all.push_back({n, n, n, false, true, true, Activation::relu, {2, 3, 2}, {0, 1, 0}, {1, 0, 1}});
  }
  return all;
}();

}  // namespace

TEST_CASE("matmul agrees with double arithmetic in every layout, batch, epilogue and dtype") {
  own_team(available_cores());
  for (const auto& c : cases) {
    CAPTURE(c.m);
    CAPTURE(c.n);
    CAPTURE(c.k);
    CAPTURE(c.transpose_a);
    CAPTURE(c.transpose_b);
    CAPTURE(c.bias);
    CAPTURE(static_cast<int>(c.activation));
    CAPTURE(c.batch.size());
    CHECK(worst_error(c, DType::f32, DType::f32) < 1e-5);
    CHECK(worst_error(c, DType::f16, DType::f16) < 1e-3);
    CHECK(worst_error(c, DType::bf16, DType::bf16) < 8e-3);
    CHECK(worst_error(c, DType::bf16, DType::f32) < 1e-5);
  }
}

TEST_CASE("large matmuls, whose b is packed, agree as well") {
  for (const Case& c :
       {Case{1030, 1026, 1024}, Case{1024, 1100, 1000, true, false, true, Activation::relu}}) {
    CHECK(worst_error(c, DType::f32, DType::f32) < 1e-4);
    CHECK(worst_error(c, DType::bf16, DType::f32) < 1e-4);
    CHECK(worst_error(c, DType::f16, DType::f32) < 1e-4);
  }
}

TEST_CASE("small matmuls agree on each instruction set, whatever their columns end with") {
  test::on_each_target([] {
    for (const int64_t n : {1, 2, 3, 5, 7, 9, 15, 17, 31, 33}) {
      CAPTURE(n);
      CHECK(worst_error({5, n, 6, false, false, true, Activation::relu}, DType::f32, DType::f32) < 1e-5);
    }
  });
}

TEST_CASE("empty matmuls write nothing") {
  for (const Case& c : {Case{0, 4, 3}, Case{4, 0, 3}, Case{0, 0, 0}})
    CHECK(worst_error(c, DType::f32, DType::f32) == 0);
}

TEST_CASE("halves round to nearest even and keep NaN") {
  const float in[] = {1.0f, 1.00390625f, 1.01171875f, -2.5f, 3e38f, std::nanf(""), -0.0f};
  const uint16_t expected[] = {0x3f80, 0x3f80, 0x3f82, 0xc020, 0x7f62, 0x7fc0, 0x8000};
  for (const int64_t n : {7, 23}) {  // the tail alone, and whole vectors before it
    std::vector<float> x(static_cast<size_t>(n), 1.0f), back(x);
    std::copy(std::begin(in), std::end(in), x.begin());
    std::vector<uint16_t> out(x.size());
    float_to_halves(DType::bf16, x.data(), out.data(), n);
    for (size_t i = 0; i < 7; ++i) CHECK(out[i] == expected[i]);
    halves_to_float(DType::bf16, out.data(), back.data(), n);
    CHECK(back[3] == -2.5f);
    CHECK(std::isnan(back[5]));
    float_to_halves(DType::f16, x.data(), out.data(), n);
    CHECK(out[3] == 0xc100);
    CHECK(out[4] == 0x7c00);  // infinity
    halves_to_float(DType::f16, out.data(), back.data(), n);
    CHECK(back[3] == -2.5f);
  }
}
