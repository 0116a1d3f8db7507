// Born's, Gram's and the hyperbolic score: every instruction set gives what the best one gives, which the
// op's conformance compares with float64; the same bits for any team; nothing written beside the operands.
#include <omp.h>

#include <array>
#include <cmath>
#include <random>

#include "cpu/attention.h"
#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

double worst(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double most = 0;
  for (size_t i = 0; i < got.size(); i++) {
    if (want[i] == got[i]) continue;
    const double error = std::fabs(double{got[i]} - want[i]) / std::max(1.0f, std::fabs(want[i]));
    most = error <= most ? most : error;  // NaN counts
  }
  return most;
}

// Of scores beside the dot product, one call forward and backward: o, lse, dq, dk, dv, dsides.
// src/ops/attention.*.ts compares them with float64 on the best instruction set.
std::vector<std::vector<float>> scored(Score score, DType dtype, int64_t Tq, int64_t Tk, int64_t D,
                                       bool alibi) {
  const int64_t B = 2, Hq = 4, Hkv = 2, P = score == Score::gram ? 2 : 1;
  const bool sided = score >= Score::gram;
  const int64_t q_size = B * Tq * Hq * P * D, o_size = B * Tq * Hq * D, k_size = B * Tk * Hkv * D;
  const int64_t batch = Tq * Hq * 2 + Tk * Hkv, stats = B * Hq * Tq;
  const auto draw = [&](int64_t n, unsigned seed, float low, float high) {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> among(low, high);
    std::vector<float> x(static_cast<size_t>(n));
    for (float& y : x) y = to_f32(from_f32<BFloat>(among(engine)));
    return x;
  };
  const auto buffer = [&](const std::vector<float>& x) {
    return with_float(dtype, [&](auto t) {
      std::vector<decltype(t)> y;
      for (const float e : x) y.push_back(from_f32<decltype(t)>(e));
      return buffer_of(y);
    });
  };
  const auto bytes = [&](int64_t n) { return static_cast<size_t>(n) * size_of(dtype); };
  const Buffer q = buffer(draw(q_size, 1, -0.6f, 0.6f)), k = buffer(draw(k_size, 2, -0.6f, 0.6f)),
               v = buffer(draw(k_size, 3, -1, 1)), dy = buffer(draw(o_size, 4, -1, 1)),
               sides = buffer_of(draw(B * batch, 5, 0.2f, 2));
  const Buffer o(bytes(o_size)), lse(static_cast<size_t>(stats) * 4), dq(bytes(q_size)), dk(bytes(k_size)),
      dv(bytes(k_size)), dsides(static_cast<size_t>(B * batch) * 4);
  const auto d = [](int64_t x) { return static_cast<double>(x); };
  const auto kernel = [&](const char* name, std::vector<std::array<int64_t, 4>> operands, int64_t sides_at,
                          std::vector<double> tail) {
    std::vector<double> packed{d(static_cast<int>(dtype)),
                               d(static_cast<int>(score)),
                               d(B),
                               d(Tq),
                               d(Tk),
                               d(Hq),
                               d(Hkv),
                               d(D),
                               0.8,
                               1,
                               0,
                               alibi * 1.0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               0,
                               sided ? d(sides_at) : -1,
                               d(batch),
                               d(Tq * Hq * 2)};
    for (const auto& [operand, length, heads, width] : operands)
      packed.insert(packed.end(), {d(operand), 0, d(length * heads * width), d(heads * width), d(width)});
    packed.insert(packed.end(), tail.begin(), tail.end());
    Attrs attrs(packed);
    return find_kernel(name)(attrs);
  };
  using Rows = std::array<int64_t, 4>;
  const auto queries = [&](int64_t at) { return Rows{at, Tq, Hq, D}; };
  const auto keys = [&](int64_t at) { return Rows{at, Tk, Hkv, D}; };
  const void* const fin[] = {q.data(), k.data(), v.data(), sides.data()};
  void* const fout[] = {o.data(), lse.data()};
  kernel("attention", {{0, Tq, Hq, P * D}, keys(1), keys(2), queries(4)}, 3, {5, -1})({fin, fout});
  const void* const bin[] = {dy.data(), q.data(), k.data(), v.data(), sides.data(), o.data(), lse.data()};
  void* const bout[] = {dq.data(), dk.data(), dv.data(), dsides.data()};
  kernel("attention_backward",
         {{1, Tq, Hq, P * D}, keys(2), keys(3), queries(5), queries(0), {7, Tq, Hq, P * D}, keys(8), keys(9)},
         4, {6, sided ? 10.0 : -1})({bin, bout});
  std::vector<std::vector<float>> all;
  const auto read = [&](const Buffer& b, int64_t n, DType type) {
    CHECK(b.guards_hold());
    with_float(type, [&](auto t) {
      std::vector<float> y(static_cast<size_t>(n));
      for (size_t i = 0; i < y.size(); i++) y[i] = to_f32(static_cast<const decltype(t)*>(b.data())[i]);
      all.push_back(y);
    });
  };
  read(o, o_size, dtype), read(lse, stats, DType::f32), read(dq, q_size, dtype), read(dk, k_size, dtype);
  read(dv, k_size, dtype);
  if (sided) read(dsides, B * batch, DType::f32);
  return all;
}
}  // namespace

TEST_CASE("every score is the same on each instruction set, and on a team of any size") {
  struct Sizes {
    int64_t Tq, Tk, D;
  };
  for (const Score score : {Score::born, Score::gram, Score::hyperbolic})
    for (const auto& [Tq, Tk, D] : {Sizes{37, 37, 16}, Sizes{150, 150, 40}, Sizes{5, 70, 8}})
      for (const DType dtype : {DType::f32, DType::bf16}) {
        CAPTURE(static_cast<int>(score));
        CAPTURE(static_cast<int>(dtype));
        CAPTURE(Tq);
        const auto run = [&] { return scored(score, dtype, Tq, Tk, D, true); };
        const auto best = run();
        on_each_target([&] {
          const auto got = run();
          for (size_t i = 0; i < got.size(); i++) {
            CAPTURE(i);
            CHECK(worst(got[i], best[i]) < (dtype == DType::f32 ? 3e-5 : 4e-2));
          }
        });
        const int before = omp_get_max_threads();
        for (const int threads : {1, 3}) {
          omp_set_num_threads(threads);
          CHECK(run() == best);
        }
        omp_set_num_threads(before);
      }
}
