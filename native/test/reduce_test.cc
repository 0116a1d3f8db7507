// Numerics of reductions, softmax and cumsum against double, where sizes make naive sums lose digits.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "cpu/kernel.h"
#include "cpu/vec.h"

using namespace attn;
using namespace attn::cpu;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
enum { kSum, kMean, kMax, kArgmax };

template <class T>
struct Aligned {  // as the engine lays operands out: 64-byte aligned, padded to 64 bytes
  explicit Aligned(size_t n) : raw(n * sizeof(T) + 128) {}
  T* data() { return reinterpret_cast<T*>((reinterpret_cast<uintptr_t>(raw.data()) + 63) / 64 * 64); }
  std::vector<char> raw;
};

template <class Out, class In>
std::vector<Out> run(const char* name, std::vector<double> attrs, const std::vector<In>& x, size_t outputs) {
  Aligned<In> in(x.size());
  Aligned<Out> out(outputs);
  std::copy(x.begin(), x.end(), in.data());
  Attrs packed(attrs);
  const void* ins[] = {in.data()};
  void* outs[] = {out.data()};
  find_kernel(name)(packed)({ins, outs});
  return {out.data(), out.data() + outputs};
}

std::vector<float> uniform(size_t n, float low, float high) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> draw(low, high);
  std::vector<float> x(n);
  for (float& v : x) v = draw(random);
  return x;
}

}  // namespace

TEST_CASE("a sum of four million elements is exact to 1e-6, along rows and down columns") {
  const size_t n = size_t{4} << 20;
  const std::vector<float> x = uniform(n, 0, 1);
  double expected = 0;
  for (const float v : x) expected += v;
  const float all = run<float>("reduce", {kSum, 0, 1, 1, double(n)}, x, 1)[0];
  CHECK(std::abs(all - expected) / expected < 1e-6);
  const auto columns = run<float>("reduce", {kSum, 0, 1, 2, double(n / 4), 4}, x, 4);
  for (size_t c = 0; c < 4; c++) {
    double sum = 0;
    for (size_t r = 0; r < n / 4; r++) sum += x[r * 4 + c];
    CHECK(std::abs(columns[c] - sum) / sum < 1e-6);
  }
}

TEST_CASE("int32 sums wrap") {
  const std::vector<int32_t> x(5000, std::numeric_limits<int32_t>::max());
  const auto expected = static_cast<int32_t>(5000u * 0x7fffffffu);
  CHECK(run<int32_t>("reduce", {kSum, 3, 1, 1, 5000}, x, 1)[0] == expected);
  const auto columns = run<int32_t>("reduce", {kSum, 3, 1, 2, 50, 100}, x, 100);
  CHECK(columns[99] == static_cast<int32_t>(50u * 0x7fffffffu));
}

TEST_CASE("an infinite element makes an infinite sum") {
  std::vector<float> x(1000, 1.0f);
  x[777] = kInf;
  CHECK(run<float>("reduce", {kSum, 0, 1, 1, 1000}, x, 1)[0] == kInf);
}

TEST_CASE("sums of nothing are 0, means NaN") {
  CHECK(run<float>("reduce", {kSum, 0, 0, 2, 3, 0}, std::vector<float>{}, 3)[1] == 0);
  CHECK(std::isnan(run<float>("reduce", {kMean, 0, 0, 2, 3, 0}, std::vector<float>{}, 3)[1]));
}

TEST_CASE("the first NaN is the greatest element, wherever it stands") {
  for (const size_t n : {1, 3, 15, 16, 17, 63, 64, 65, 511, 513, 2000, 100000})
    for (const size_t at : {size_t{0}, n / 2, n - 1}) {
      CAPTURE(n);
      CAPTURE(at);
      std::vector<float> x(n, 5.0f);
      x[at] = kNaN;
      x[n - 1] = kNaN;
      const double size = double(n);
      CHECK(std::isnan(run<float>("reduce", {kMax, 0, 1, 1, size}, x, 1)[0]));
      CHECK(run<int32_t>("reduce", {kArgmax, 0, 1, 1, size}, x, 1)[0] == int32_t(at));
      std::vector<float> wide(n * 20);  // the same down a column
      for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < 20; c++) wide[r * 20 + c] = x[r];
      CHECK(std::isnan(run<float>("reduce", {kMax, 0, 1, 2, size, 20}, wide, 20)[19]));
      CHECK(run<int32_t>("reduce", {kArgmax, 0, 1, 2, size, 20}, wide, 20)[17] == int32_t(at));
    }
}

TEST_CASE("the lowest index wins ties, and -inf is an element like others") {
  const std::vector<float> x(3000, -kInf);
  CHECK(run<int32_t>("reduce", {kArgmax, 0, 1, 1, 3000}, x, 1)[0] == 0);
  CHECK(run<float>("reduce", {kMax, 0, 1, 1, 3000}, x, 1)[0] == -kInf);
  std::vector<float> y(3000, 1.0f);
  y[1023] = y[1500] = y[2900] = 2.0f;
  CHECK(run<int32_t>("reduce", {kArgmax, 0, 1, 1, 3000}, y, 1)[0] == 1023);
  const std::vector<int32_t> least(100, std::numeric_limits<int32_t>::min());
  CHECK(run<int32_t>("reduce", {kArgmax, 3, 1, 1, 100}, least, 1)[0] == 0);
}

TEST_CASE("softmax: rows add up to 1, huge inputs do not overflow, -inf rows give 0, NaN rows NaN") {
  for (const int64_t n : {1, 5, 16, 33, 1024, 9000, 20000})
    for (const int64_t inner : {1, 7}) {
      CAPTURE(n);
      CAPTURE(inner);
      std::vector<float> x = uniform(size_t(4 * n * inner), -90, 90);
      const auto line = [&](int64_t o, int64_t k) -> float& { return x[size_t((o * n + k) * inner)]; };
      for (int64_t k = 0; k < n; k++) line(1, k) = -kInf;
      for (int64_t k = 0; k < n; k++) line(2, k) = 3e38f;
      line(3, n / 2) = kNaN;
      const auto y = run<float>("softmax", {0, 0, 4, double(n), double(inner)}, x, x.size());
      const auto at = [&](int64_t o, int64_t k) { return y[size_t((o * n + k) * inner)]; };
      float max = -kInf;
      double sum = 0, error = 0;
      for (int64_t k = 0; k < n; k++) max = std::max(max, line(0, k));
      for (int64_t k = 0; k < n; k++) sum += std::exp(double(line(0, k)) - max);
      for (int64_t k = 0; k < n; k++)
        error = std::max(error, std::abs(at(0, k) - std::exp(double(line(0, k)) - max) / sum));
      CHECK(error < 3e-7);
      CHECK(at(1, 0) == 0);
      CHECK(at(1, n - 1) == 0);
      CHECK(at(2, n - 1) == doctest::Approx(1.0 / double(n)).epsilon(1e-6));
      CHECK(std::isnan(at(3, 0)));
      CHECK(std::isnan(at(3, n - 1)));
    }
}

TEST_CASE("running sums of a million elements stay exact to 1e-6, halves are summed wide") {
  const size_t n = size_t{1} << 20;
  const std::vector<float> x = uniform(n, 0, 1);
  const auto y = run<float>("cumsum", {0, 1, double(n), 1}, x, n);
  double sum = 0, worst = 0;
  for (size_t i = 0; i < n; i++) {
    sum += x[i];
    worst = std::max(worst, std::abs(y[i] - sum) / sum);
  }
  CHECK(worst < 1e-6);
  const std::vector<BFloat> ones(1000, from_f32<BFloat>(1));
  CHECK(to_f32(run<BFloat>("cumsum", {2, 1, 1000, 1}, ones, 1000)[999]) == 1000);
}
