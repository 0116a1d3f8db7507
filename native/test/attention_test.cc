// Attention and its gradient against float64, on every instruction set; the same bits for any team; nothing
// written beside the operands; what a key that is not visible holds is never read into a result.
#include <omp.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

struct Case {
  int64_t B, Tq, Tk, Hq, Hkv, D;
  bool causal = true;
  int64_t window = 0;
  int mask = 0;  // 1: bool [B, 1, Tq, Tk], 2: float of the same shape
};

// The operands in the order of attention_backward: dy, q, k, v, o, lse, dq, dk, dv, then the mask.
struct Run {
  Case c;
  DType dtype;
  std::vector<float> dy, q, k, v;
  std::vector<uint8_t> keep;
  std::vector<float> add;

  Run(const Case& which, DType type) : c(which), dtype(type) {
    std::mt19937 engine(11);
    std::uniform_real_distribution<float> draw(-2, 2);
    const auto fill = [&](std::vector<float>& x, int64_t n) {
      x.resize(static_cast<size_t>(n));
      for (float& y : x) y = rounded(draw(engine));
    };
    const int64_t queries = c.B * c.Tq * c.Hq * c.D, keys = c.B * c.Tk * c.Hkv * c.D;
    fill(dy, queries), fill(q, queries), fill(k, keys), fill(v, keys);
    for (int64_t i = 0; i < c.B * c.Tq * c.Tk; i++) {
      keep.push_back(draw(engine) > -1);
      add.push_back(i % 5 ? draw(engine) : -HUGE_VALF);
    }
  }
  float rounded(float x) const {
    return dtype == DType::f32   ? x
           : dtype == DType::f16 ? to_f32(from_f32<Half>(x))
                                 : to_f32(from_f32<BFloat>(x));
  }
  Buffer buffer(const std::vector<float>& x) const {
    const auto as = [&](auto t) {
      std::vector<decltype(t)> y;
      for (const float e : x) y.push_back(from_f32<decltype(t)>(e));
      return buffer_of(y);
    };
    return with_float(dtype, as);
  }
  std::vector<float> read(const Buffer& b, size_t n) const {
    CHECK(b.guards_hold());
    return with_float(dtype, [&](auto t) {
      std::vector<float> y(n);
      for (size_t i = 0; i < n; i++) y[i] = to_f32(static_cast<const decltype(t)*>(b.data())[i]);
      return y;
    });
  }

  Kernel kernel(const char* name, std::vector<int> operands, std::vector<double> tail, double mask_at) const {
    const auto d = [](int64_t x) { return static_cast<double>(x); };
    std::vector<double> packed{d(static_cast<int>(dtype)),
                               0,
                               d(c.B),
                               d(c.Tq),
                               d(c.Tk),
                               d(c.Hq),
                               d(c.Hkv),
                               d(c.D),
                               1 / std::sqrt(d(c.D)),
                               c.causal * 1.0,
                               d(c.window),
                               0,
                               c.mask * 1.0,
                               mask_at,
                               d(c.Tq * c.Tk),
                               0,
                               d(c.Tk),
                               1,
                               -1,
                               0,
                               0};
    const bool forward = operands.size() == 4;
    for (size_t i = 0; i < operands.size(); i++) {
      const bool key = forward ? i == 1 || i == 2 : i == 1 || i == 2 || i >= 6;
      const int64_t row = (key ? c.Hkv : c.Hq) * c.D;
      packed.insert(packed.end(), {d(operands[i]), 0, d((key ? c.Tk : c.Tq) * row), d(row), d(c.D)});
    }
    packed.insert(packed.end(), tail.begin(), tail.end());
    Attrs attrs(packed);
    return find_kernel(name)(attrs);
  }

  // o, lse, dq, dk, dv.
  std::vector<std::vector<float>> results() const {
    const size_t size = dtype == DType::f32 ? 4 : 2;
    const auto stats = static_cast<size_t>(c.B * c.Hq * c.Tq);
    const Buffer bq = buffer(q), bk = buffer(k), bv = buffer(v), bdy = buffer(dy);
    const Buffer m = c.mask == 1 ? buffer_of(keep) : buffer_of(add);
    const Buffer o(q.size() * size), lse(stats * 4), entropy(stats * 4);
    const Buffer dq(q.size() * size), dk(k.size() * size), dv(k.size() * size);
    const int masks = c.mask ? 1 : 0;
    std::vector<const void*> in{bq.data(), bk.data(), bv.data()};
    if (masks) in.push_back(m.data());
    void* const fout[] = {o.data(), lse.data(), entropy.data()};
    kernel("attention", {0, 1, 2, 3 + masks}, {4.0 + masks, 5.0 + masks}, 3)({in, fout});
    in = {bdy.data(), bq.data(), bk.data(), bv.data(), o.data(), lse.data()};
    if (masks) in.push_back(m.data());
    void* const bout[] = {dq.data(), dk.data(), dv.data()};
    kernel("attention_backward", {1, 2, 3, 4, 0, 6 + masks, 7 + masks, 8 + masks}, {5, -1}, 6)({in, bout});
    CHECK(lse.guards_hold());
    CHECK(entropy.guards_hold());
    std::vector<float> l(stats);
    if (stats) std::memcpy(l.data(), lse.data(), stats * 4);
    return {read(o, q.size()), l, read(dq, q.size()), read(dk, k.size()), read(dv, k.size())};
  }

  std::vector<std::vector<double>> reference() const {
    std::vector<double> o(q.size()), lse(static_cast<size_t>(c.B * c.Hq * c.Tq), -HUGE_VAL), dq(q.size()),
        dk(k.size()), dv(k.size());
    for (int64_t row = 0; row < c.B * c.Hq * c.Tq; row++) {
      const int64_t b = row / (c.Hq * c.Tq), h = row / c.Tq % c.Hq, i = row % c.Tq;
      const auto at = static_cast<size_t>(((b * c.Tq + i) * c.Hq + h) * c.D);
      const auto key = [&](int64_t j) {
        return static_cast<size_t>(((b * c.Tk + j) * c.Hkv + h / (c.Hq / c.Hkv)) * c.D);
      };
      const auto D = static_cast<size_t>(c.D);
      std::vector<double> s(static_cast<size_t>(c.Tk), -HUGE_VAL);
      double sum = 0;
      for (int64_t j = 0; j < c.Tk; j++) {
        const int64_t to = i + c.Tk - c.Tq;
        const auto mask_at = static_cast<size_t>((b * c.Tq + i) * c.Tk + j);
        if ((c.causal && j > to) || (c.window && std::abs(j - to) >= c.window)) continue;
        if (c.mask == 1 && !keep[mask_at]) continue;
        double x = 0;
        for (size_t d = 0; d < D; d++) x += double{q[at + d]} * k[key(j) + d];
        x = x / std::sqrt(static_cast<double>(c.D)) + (c.mask == 2 ? double{add[mask_at]} : 0);
        s[static_cast<size_t>(j)] = x;
        sum += std::exp(x);
      }
      if (sum == 0) continue;
      lse[static_cast<size_t>(row)] = std::log(sum);
      double delta = 0;
      for (int64_t j = 0; j < c.Tk; j++)
        for (size_t d = 0; d < D; d++) o[at + d] += std::exp(s[static_cast<size_t>(j)]) / sum * v[key(j) + d];
      for (size_t d = 0; d < D; d++) delta += o[at + d] * dy[at + d];
      for (int64_t j = 0; j < c.Tk; j++) {
        const double p = std::exp(s[static_cast<size_t>(j)]) / sum;
        double dp = 0;
        for (size_t d = 0; d < D; d++) dp += double{dy[at + d]} * v[key(j) + d];
        const double ds = p * (dp - delta) / std::sqrt(static_cast<double>(c.D));
        for (size_t d = 0; d < D; d++) {
          dq[at + d] += ds * k[key(j) + d], dk[key(j) + d] += ds * q[at + d],
              dv[key(j) + d] += p * dy[at + d];
        }
      }
    }
    return {o, lse, dq, dk, dv};
  }
};

const Case kCases[] = {
    {2, 70, 70, 2, 2, 16},
    {1, 33, 33, 2, 1, 40},
    {1, 65, 65, 1, 1, 64, false},
    {1, 9, 9, 3, 3, 5},
    {1, 20, 20, 1, 1, 256},
    {1, 3, 75, 4, 2, 32},
    {1, 30, 11, 1, 1, 24},  // rows that see no key
    {2, 85, 85, 1, 1, 16, true, 9},
    {1, 81, 81, 1, 1, 16, false, 20},
    {2, 70, 70, 2, 2, 16, true, 0, 1},
    {2, 37, 52, 2, 1, 8, false, 0, 2},
};

double worst(const std::vector<float>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  double most = 0;
  for (size_t i = 0; i < got.size(); i++) {
    if (want[i] == got[i]) continue;
    const double error = std::fabs(got[i] - want[i]) / std::max(1.0, std::fabs(want[i]));
    most = error <= most ? most : error;  // NaN counts
  }
  return most;
}
}  // namespace

TEST_CASE("attention and its gradient against float64") {
  on_each_target([] {
    for (const Case& c : kCases)
      for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
        CAPTURE(c.Tq);
        CAPTURE(c.D);
        CAPTURE(static_cast<int>(dtype));
        const Run run(c, dtype);
        const auto got = run.results();
        const auto want = run.reference();
        const double bound = dtype == DType::f32 ? 3e-5 : dtype == DType::f16 ? 4e-3 : 3e-2;
        for (size_t i = 0; i < got.size(); i++) {
          CAPTURE(i);
          CHECK(worst(got[i], want[i]) < bound);
        }
      }
  });
}

TEST_CASE("attention gives the same bits on a team of any size") {
  const int before = omp_get_max_threads();
  // One head and many tiles: the keys are in parts, whose gradients are joined.
  for (const Case& c : {Case{1, 700, 700, 1, 1, 16}, Case{2, 80, 80, 3, 3, 16}}) {
    const Run run(c, DType::f32);
    omp_set_num_threads(1);
    const auto one = run.results();
    omp_set_num_threads(3);
    CHECK(run.results() == one);
    omp_set_num_threads(before);
    const auto want = run.reference();
    for (size_t i = 0; i < one.size(); i++) CHECK(worst(one[i], want[i]) < 3e-5);
  }
}

TEST_CASE("queries read nothing of later keys, to the bit") {
  on_each_target([] {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Run run({1, 150, 150, 1, 1, 16}, dtype);
      const auto before = run.results();
      const size_t from = 77 * 16;
      for (size_t i = from; i < run.k.size(); i++) run.k[i] = run.rounded(run.k[i] * 3), run.v[i] = 1000;
      const auto after = run.results();
      CHECK(std::equal(before[0].begin(), before[0].begin() + from, after[0].begin()));
      CHECK(std::equal(before[1].begin(), before[1].begin() + 77, after[1].begin()));
      CHECK(before[0] != after[0]);
    }
  });
}

TEST_CASE("a NaN reaches the results of its row, whatever its bits") {
  on_each_target([] {
    for (const uint32_t bits : {0x7fc00000u, 0x7fffffffu, 0xffffffffu}) {  // x86's, NVIDIA's, and all ones
      CAPTURE(bits);
      Run run({1, 20, 20, 1, 1, 16}, DType::f32);
      const size_t row = 7;
      run.q[row * 16 + 3] = std::bit_cast<float>(bits);
      const auto got = run.results();
      for (size_t d = 0; d < 16; d++) CHECK(std::isnan(got[0][row * 16 + d]));
      CHECK(std::isnan(got[1][row]));
      CHECK(std::isnan(got[2][row * 16]));
      CHECK(std::isfinite(got[0][(row - 1) * 16]));
    }
  });
}
