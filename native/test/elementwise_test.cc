// The element-wise kernels against float64, on every instruction set.
#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

constexpr double kF32 = 0, kF16 = 1, kBF16 = 2, kI32 = 3;
const float kInf = std::numeric_limits<float>::infinity(), kNaN = std::nanf("");

std::vector<float> uniform(size_t n, double low, double high) {
  std::mt19937 engine(7);
  std::uniform_real_distribution<double> draw(low, high);
  std::vector<float> x(n);
  for (float& v : x) v = static_cast<float>(draw(engine));
  return x;
}

template <class T>
std::vector<T> as(const std::vector<float>& x) {
  std::vector<T> out;
  for (float v : x) out.push_back(from_f32<T>(v));
  return out;
}

// |got - want| / max(|want|, floor), infinities and NaNs compared by kind.
double error(double got, double want, double floor) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got) ? 0 : HUGE_VAL;
  if (std::isinf(want) || std::isinf(got)) return want == got ? 0 : HUGE_VAL;
  return std::fabs(got - want) / std::max(std::fabs(want), floor);
}

struct UnaryCase {
  const char* name;
  double (*f)(double);
  double low, high;
  double relative;  // bound of the relative error
  double floor;     // below this magnitude errors are absolute
  std::vector<float> edges;
};

const double kSqrtHalf = std::sqrt(0.5);
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// In the order of the op codes.
const std::vector<UnaryCase> kUnary = {
    {"neg", [](double x) { return -x; }, -3, 3, 0, 1e-30, {0.f, -0.f, kInf, -kInf, kNaN}},
    {"abs", [](double x) { return std::fabs(x); }, -3, 3, 0, 1e-30, {-0.f, kInf, -kInf, kNaN}},
    {"exp",
     [](double x) { return std::exp(x); },
     -80,
     88,
     3e-7,
     1e-30,
     {0.f, kInf, -kInf, kNaN, 200.f, -200.f, 1e30f}},
    {"log",
     [](double x) { return std::log(x); },
     1e-6,
     100,
     3e-7,
     1e-30,
     {1.f, 0.f, -1.f, kInf, -kInf, kNaN, 1e-40f, 0.9999999f, 1.0000001f}},
    {"sqrt", [](double x) { return std::sqrt(x); }, 0, 100, 7e-8, 1e-30, {0.f, -1.f, kInf, kNaN}},
    {"rsqrt", [](double x) { return 1 / std::sqrt(x); }, 1e-3, 100, 2e-7, 1e-30, {0.f, -1.f, kInf, kNaN}},
    {"square", [](double x) { return x * x; }, -30, 30, 7e-8, 1e-30, {kInf, -kInf, kNaN}},
    {"sin",
     [](double x) { return std::sin(x); },
     -1000,
     1000,
     3e-7,
     1,
     {0.f, kInf, kNaN, 50000.f, -1e20f, 38999.f}},
    {"cos",
     [](double x) { return std::cos(x); },
     -1000,
     1000,
     3e-7,
     1,
     {0.f, kInf, kNaN, 50000.f, -1e20f, 38999.f}},
    {"tanh",
     [](double x) { return std::tanh(x); },
     -12,
     12,
     5e-7,
     1e-30,
     {0.f, kInf, -kInf, kNaN, 1e-6f, 90.f, -1e30f}},
    {"sigmoid", sigmoid, -30, 30, 4e-7, 1e-30, {0.f, kInf, -kInf, kNaN, -80.f, 200.f}},
    {"relu", [](double x) { return x < 0 ? 0 : x; }, -3, 3, 0, 1e-30, {0.f, kInf, -kInf, kNaN}},
    {"gelu",
     [](double x) { return 0.5 * x * (1 + std::erf(x * kSqrtHalf)); },
     -8,
     8,
     1e-6,
     1,
     {0.f, kInf, kNaN, 1e-3f, 1.4142135f, 30.f, -30.f}},
    {"gelu_tanh",
     [](double x) { return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))); },
     -8,
     8,
     5e-7,
     1,
     {0.f, kInf, kNaN, 1e-3f, 30.f, -30.f}},
    {"silu", [](double x) { return x * sigmoid(x); }, -20, 20, 5e-7, 1, {0.f, kInf, kNaN, 90.f, -80.f}},
    {"erf",
     [](double x) { return std::erf(x); },
     -5,
     5,
     4e-7,
     1e-30,
     {0.f, -0.f, kInf, -kInf, kNaN, 1e-6f, 1.f, -0.99999994f}},
    {"sinh",
     [](double x) { return std::sinh(x); },
     -88,
     88,
     5e-7,
     1e-30,
     {0.f, -0.f, kInf, -kInf, kNaN, 1e-6f, 1.f, -0.99999994f, 89.f, -89.4f, 89.5f, 90.f}},
    {"asinh",
     [](double x) { return std::asinh(x); },
     -100,
     100,
     4e-7,
     1e-30,
     {0.f, -0.f, kInf, -kInf, kNaN, 1e-6f, 0.35f, 1e6f, -1e7f, 3e38f}},
    {"log_sigmoid",
     [](double x) { return std::min(x, 0.0) - std::log1p(std::exp(-std::fabs(x))); },
     -30,
     30,
     3e-7,
     1,
     {0.f, kInf, -kInf, kNaN, -200.f, 200.f}},
    {"elu_plus_one",
     [](double x) { return x > 0 ? x + 1 : std::exp(x); },
     -20,
     20,
     3e-7,
     1e-30,
     {0.f, -0.f, kInf, -kInf, kNaN, -200.f, 1e-6f}},
};

template <class T>
double worst_unary(double code, double dtype, const UnaryCase& c, double half_epsilon) {
  std::vector<float> x = uniform(20011, c.low, c.high);
  x.insert(x.end(), c.edges.begin(), c.edges.end());
  const std::vector<T> stored = as<T>(x);
  const auto y = run<T>("unary", {code, dtype, double(x.size())}, inputs(buffer_of(stored)), x.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); i++) {
    const double exact = c.f(double(to_f32(stored[i])));
    // What rounding to the storage type does to the exact value is no error of the kernel.
    const double want = to_f32(from_f32<T>(float(exact)));
    const double e = error(to_f32(y[i]), want, std::max(c.floor, half_epsilon ? 1e-4 : 0.));
    if (e > half_epsilon + c.relative && e > worst)
      INFO(c.name, " of ", to_f32(stored[i]), " gave ", to_f32(y[i]));
    worst = std::max(worst, e);
  }
  return worst;
}

template <class T>
double binary_value(double op, T a, T b) {
  switch (int(op)) {
    case 0:
      return double(a) + b;
    case 1:
      return double(a) - b;
    case 2:
      return double(a) * b;
    case 3:
      return double(a) / b;
    case 4:
      return std::pow(double(a), double(b));
    case 5:
      return std::isnan(double(a)) || std::isnan(double(b)) ? NAN : double(std::max(a, b));
    case 6:
      return std::isnan(double(a)) || std::isnan(double(b)) ? NAN : double(std::min(a, b));
    case 7:
      return a == b;
    case 8:
      return a != b;
    case 9:
      return a < b;
    case 10:
      return a <= b;
    case 11:
      return a > b;
    default:
      return a >= b;
  }
}

// Strides of `shape` stretched over `target`.
std::vector<int64_t> stretched(const std::vector<int64_t>& shape, const std::vector<int64_t>& target) {
  std::vector<int64_t> strides(target.size());
  int64_t next = 1;
  for (size_t i = target.size(); i-- > 0;) {
    strides[i] = shape[i] == 1 ? 0 : next;
    next *= shape[i];
  }
  return strides;
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

void pack(std::vector<double>& attrs, const std::vector<int64_t>& list) {
  attrs.push_back(double(list.size()));
  attrs.insert(attrs.end(), list.begin(), list.end());
}

struct BroadcastCase {
  std::vector<int64_t> a, b;
};
const std::vector<BroadcastCase> kBroadcasts = {
    {{1}, {1}},
    {{77}, {77}},
    {{65}, {1}},
    {{1}, {130}},
    {{40, 100}, {1, 100}},
    {{1, 70}, {41, 1}},
    {{700, 3}, {1, 3}},
    {{700, 3}, {700, 1}},
    {{5, 1, 33}, {1, 7, 33}},
    {{3, 40, 1}, {3, 1, 67}},
    {{2, 3, 4, 5, 2}, {1, 3, 1, 5, 1}},
    {{0}, {1}},
    {{0, 40}, {1, 40}},
    {{9000, 33}, {9000, 1}},
};

// Every op over every way of broadcasting, elements of a and b from the given values.
template <class T, class V>
double worst_binary(double op, double dtype, V&& value) {
  double worst = 0;
  for (const auto& c : kBroadcasts) {
    std::vector<int64_t> shape;
    for (size_t i = 0; i < c.a.size(); i++) shape.push_back(c.a[i] == 1 ? c.b[i] : c.a[i]);
    std::vector<T> a, b;
    for (int64_t i = 0; i < product(c.a); i++) a.push_back(value(i, 0));
    for (int64_t i = 0; i < product(c.b); i++) b.push_back(value(i, 1));
    std::vector<double> attrs{op, dtype};
    const auto sa = stretched(c.a, shape), sb = stretched(c.b, shape);
    pack(attrs, shape);
    pack(attrs, sa);
    pack(attrs, sb);
    const auto n = size_t(product(shape));
    std::vector<double> got;
    if (op >= 7) {
      for (uint8_t v : run<uint8_t>("binary", attrs, inputs(buffer_of(a), buffer_of(b)), n)) got.push_back(v);
    } else {
      for (T v : run<T>("binary", attrs, inputs(buffer_of(a), buffer_of(b)), n)) {
        if constexpr (std::is_same_v<T, int32_t>)
          got.push_back(v);
        else
          got.push_back(to_f32(v));
      }
    }
    for (size_t i = 0; i < n; i++) {
      int64_t rest = int64_t(i), ia = 0, ib = 0;
      for (size_t d = shape.size(); d-- > 0; rest /= shape[d]) {
        ia += rest % shape[d] * sa[d];
        ib += rest % shape[d] * sb[d];
      }
      double want;
      if constexpr (std::is_same_v<T, int32_t>) {
        const int32_t u = a[size_t(ia)], v = b[size_t(ib)];
        want = op == 2 ? double(uint32_t(u) * uint32_t(v)) : binary_value<int64_t>(op, u, v);
        want = double(int32_t(uint32_t(int64_t(want))));
      } else {
        want = binary_value<float>(op, to_f32(a[size_t(ia)]), to_f32(b[size_t(ib)]));
        if (op < 7) want = to_f32(from_f32<T>(float(want)));
      }
      worst = std::max(worst, error(got[i], want, 1e-30));
    }
  }
  return worst;
}
}  // namespace

TEST_CASE("unary kernels in float32 keep their accuracy, edges included") {
  on_each_target([] {
    for (size_t op = 0; op < kUnary.size(); op++) {
      CAPTURE(kUnary[op].name);
      CHECK(worst_unary<float>(double(op), kF32, kUnary[op], 0) <= kUnary[op].relative);
    }
  });
}

TEST_CASE("unary kernels on halves round once") {
  on_each_target([] {
    for (size_t op = 0; op < kUnary.size(); op++) {
      CAPTURE(kUnary[op].name);
      CHECK(worst_unary<Half>(double(op), kF16, kUnary[op], 0x1p-10) <= 0x1p-10);
      CHECK(worst_unary<BFloat>(double(op), kBF16, kUnary[op], 0x1p-7) <= 0x1p-7);
    }
  });
}

TEST_CASE("unary kernels on int32 wrap") {
  const int32_t low = std::numeric_limits<int32_t>::min();
  const std::vector<int32_t> x = {0, 1, -1, 65536, -70000, low, low + 1};
  on_each_target([&] {
    const auto call = [&](double op) {
      return run<int32_t>("unary", {op, kI32, double(x.size())}, inputs(buffer_of(x)), x.size());
    };
    CHECK(call(0) == std::vector<int32_t>{0, -1, 1, -65536, 70000, low, -(low + 1)});
    CHECK(call(1) == std::vector<int32_t>{0, 1, 1, 65536, 70000, low, -(low + 1)});
    CHECK(call(6) == std::vector<int32_t>{0, 1, 1, 0, 605032704, 0, 1});
    CHECK(call(11) == std::vector<int32_t>{0, 1, 0, 65536, 0, 0, 0});
  });
}

TEST_CASE("binary kernels broadcast as NumPy does") {
  const std::vector<float> x = uniform(4099, -3, 3);
  const auto at = [&](int64_t i, int operand) { return x[size_t(i * 7 + operand * 13) % x.size()]; };
  on_each_target([&] {
    for (double op = 0; op < 13; op++) {
      CAPTURE(op);
      const double bound = op == 4 ? 1.3e-7 : op < 4 ? 6e-8 : 0;
      CHECK(worst_binary<float>(op, kF32, at) <= bound);
      CHECK(worst_binary<Half>(op, kF16, [&](int64_t i, int k) { return from_f32<Half>(at(i, k)); }) <=
            0x1p-10);
      CHECK(worst_binary<BFloat>(op, kBF16, [&](int64_t i, int k) { return from_f32<BFloat>(at(i, k)); }) <=
            0x1p-7);
      if (op == 3 || op == 4) continue;
      CHECK(worst_binary<int32_t>(op, kI32, [](int64_t i, int k) {
              return int32_t(uint32_t(i * 2654435761) * (k ? 1u : 3u)) >> (i % 2 ? 0 : 29);
            }) == 0);
    }
  });
}

TEST_CASE("pow, maximum and comparisons at the edges of IEEE arithmetic") {
  const std::vector<float> edge = {0.f,  -0.f, 1.f,  -1.f,  2.f,  -2.f,  0.5f,   -0.5f,  3.f,
                                   -3.f, 2.5f, kInf, -kInf, kNaN, 1e30f, -1e30f, 1e-40f, 16777217.f};
  const auto n = double(edge.size());
  on_each_target([&] {
    for (double op : {0., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12.}) {
      const std::vector<double> attrs{op, kF32, 2, n, n, 2, 1, 0, 2, 0, 1};
      std::vector<double> got;
      const auto in = [&] { return inputs(buffer_of(edge), buffer_of(edge)); };
      if (op >= 7)
        for (uint8_t v : run<uint8_t>("binary", attrs, in(), edge.size() * edge.size())) got.push_back(v);
      else
        for (float v : run<float>("binary", attrs, in(), edge.size() * edge.size())) got.push_back(v);
      for (size_t i = 0; i < edge.size(); i++)
        for (size_t j = 0; j < edge.size(); j++) {
          const double want = float(binary_value<float>(op, edge[i], edge[j]));
          CAPTURE(op);
          CAPTURE(edge[i]);
          CAPTURE(edge[j]);
          CHECK(error(got[i * edge.size() + j], want, 1e-30) <= 2e-7);
          if (op == 4 && want == 0) CHECK(std::signbit(got[i * edge.size() + j]) == std::signbit(want));
        }
    }
  });
}
