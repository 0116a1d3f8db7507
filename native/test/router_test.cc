// The cost model, the partition of a block and its explanation.
#include "engine/cost_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "engine/explain.h"
#include "engine/partition.h"

using namespace attn;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Work elementwise(CostModel& m, const char* op, double n, int buffers = 3) {
  return m.work(m.key(op, Family::map, DType::f32), n, 4.0 * buffers * n, true);
}
Work square_matmul(CostModel& m, double n) {
  return m.work(m.key("matmul", Family::gemm, DType::f32), 2 * n * n * n, 12 * n * n, true);
}

// A block that owns its arrays.
struct TestBlock {
  std::vector<Work> works;
  std::vector<BlockNode> nodes;
  std::vector<uint32_t> operands;
  std::vector<BlockBuffer> buffers;

  uint32_t buffer(uint64_t bytes, bool host = false, bool device = false, bool read = false) {
    buffers.push_back({bytes, host, device, read});
    return static_cast<uint32_t>(buffers.size() - 1);
  }
  void node(const Work& w, std::vector<uint32_t> in, std::vector<uint32_t> out) {
    works.push_back(w);
    nodes.push_back({nullptr, static_cast<uint32_t>(operands.size()), static_cast<uint16_t>(in.size()),
                     static_cast<uint16_t>(out.size())});
    operands.insert(operands.end(), in.begin(), in.end());
    operands.insert(operands.end(), out.begin(), out.end());
  }
  Block view() {
    for (size_t i = 0; i < nodes.size(); i++) nodes[i].work = &works[i];
    return {nodes, operands, buffers};
  }
};

// Launch plus bandwidth, exactly: maps at `cpu` and `gpu` bytes per second, copies at `bandwidth`.
Calibration linear(double cpu, double gpu, double latency = 10e-6, double bandwidth = 1e9) {
  Calibration c;
  c.launch = {0.1e-6, 2e-6};
  c.rates = {{Family::map, DType::f32, Side::cpu, 0, 1e6, 0.1e-6 + 1e6 / cpu},
             {Family::map, DType::f32, Side::gpu, 0, 1e6, 2e-6 + 1e6 / gpu}};
  for (const Direction d : {Direction::upload, Direction::download})
    c.transfers.insert(c.transfers.end(), {{d, 64, latency}, {d, 1e8, latency + 1e8 / bandwidth}});
  return c;
}

}  // namespace

TEST_CASE("before calibration the thresholds of the forerunner hold") {
  CostModel m(false);
  CHECK(!m.calibrated());
  const auto faster_on_gpu = [&](const Work& w) { return m.seconds(w, Side::gpu) < m.seconds(w, Side::cpu); };
  for (const int buffers : {2, 3}) {
    CHECK(faster_on_gpu(elementwise(m, "op", 256 * 256, buffers)));
    CHECK(faster_on_gpu(elementwise(m, "op", 512 * 512, buffers)));
    CHECK(!faster_on_gpu(elementwise(m, "op", 2048 * 2048, buffers)));
    CHECK(!faster_on_gpu(elementwise(m, "op", 4096 * 4096, buffers)));
  }
  const Work add = elementwise(m, "add", 512 * 512);
  CHECK(m.seconds(add, Side::cpu) / m.seconds(add, Side::gpu) == doctest::Approx(4.57));
  CHECK(m.source(add, Side::gpu) == Source::standard);
  CHECK(!faster_on_gpu(elementwise(m, "op", 16 * 16)));  // the launch outweighs it
  for (const double n : {64., 512., 1024., 4096.}) CHECK(!faster_on_gpu(square_matmul(m, n)));
  CHECK(!faster_on_gpu(
      m.work(m.key("matmul", Family::gemm, DType::f32), 2e6, 4e6, true)));  // a matrix times a vector

  CostModel software(true);
  for (const double n : {16., 512., 1024., 4096.}) {
    const Work w = elementwise(software, "add", n * n), mm = square_matmul(software, n);
    CHECK(software.seconds(w, Side::gpu) > software.seconds(w, Side::cpu));
    CHECK(software.seconds(mm, Side::gpu) > software.seconds(mm, Side::cpu));
  }
  m.set_software_device(true);
  CHECK(!faster_on_gpu(add));
}

TEST_CASE("curves go through their points, hold the rate beyond them and add the launch") {
  CostModel m;
  Calibration c;
  c.launch = {1e-6, 5e-6};
  c.rates = {{Family::map, DType::f32, Side::cpu, 0, 1e4, 4e-6},
             {Family::map, DType::f32, Side::cpu, 0, 1e6, 100e-6},
             {Family::map, DType::f32, Side::cpu, 0, 1e4, 6e-6}};  // measured twice: the faster counts
  m.calibrate(c);
  const auto at = [&](double bytes) {
    return m.seconds(m.work(m.key("neg", Family::map, DType::f32), 0, bytes, true), Side::cpu);
  };
  CHECK(at(1e4) == doctest::Approx(4e-6));
  CHECK(at(1e6) == doctest::Approx(100e-6).epsilon(0.01));
  CHECK(at(1e5) == doctest::Approx(1e-6 + std::sqrt(3e-6 * 99e-6)));
  CHECK(at(1e8) == doctest::Approx(1e-6 + 99e-4));
  CHECK(at(5e3) == doctest::Approx(2.5e-6));
  CHECK(at(0) == doctest::Approx(1e-6));
  CHECK(at(kNaN) == doctest::Approx(1e-6));
  CHECK(m.source(m.work(m.key("neg", Family::map, DType::f32), 0, 1, true), Side::cpu) == Source::calibrated);
}

TEST_CASE("what was not measured falls back: float32 of the family, then map, never map for gemm") {
  CostModel m;
  Calibration c;
  c.launch = {1e-9, 1e-9};
  c.rates = {{Family::map, DType::f32, Side::cpu, 0, 1e6, 1e-3},
             {Family::map, DType::bf16, Side::cpu, 0, 1e6, 2e-3},
             {Family::reduce, DType::f32, Side::cpu, 0, 1e6, 3e-3}};
  m.calibrate(c);
  const auto t = [&](Family f, DType d) {
    return m.seconds(m.work(m.key("op", f, d), 1e6, 1e6, true), Side::cpu);
  };
  CHECK(t(Family::reduce, DType::bf16) == doctest::Approx(3e-3));
  CHECK(t(Family::scan, DType::bf16) == doctest::Approx(2e-3));
  CHECK(t(Family::scan, DType::f16) == doctest::Approx(1e-3));
  const Work mm = m.work(m.key("matmul", Family::gemm, DType::f32), 1e6, 1e6, true);
  CHECK(m.source(mm, Side::cpu) == Source::standard);
  CHECK(m.seconds(mm, Side::cpu) < 1e-3);
  // A measured product is bounded by the bandwidth of a map.
  c.rates.push_back({Family::gemm, DType::f32, Side::cpu, 1e6, 1e4, 1e-5});
  m.calibrate(c);
  CHECK(m.seconds(mm, Side::cpu) == doctest::Approx(1e-3));
  CHECK(m.seconds(m.work(m.key("matmul", Family::gemm, DType::f32), 1e6, 1e3, true), Side::cpu) ==
        doctest::Approx(1e-5));
}

TEST_CASE("hostile calibration points are left out") {
  CostModel m;
  const Work w = elementwise(m, "add", 1e6);
  const double before = m.seconds(w, Side::cpu);
  Calibration c;
  c.launch = {kNaN, -1};
  for (const double bad : {0., -1., kNaN, kInf}) {
    c.rates.push_back({Family::map, DType::f32, Side::cpu, 0, 1e6, bad});
    c.rates.push_back({Family::map, DType::f32, Side::cpu, 0, bad, 1e-3});
    c.transfers.push_back({Direction::upload, 1e6, bad});
    c.transfers.push_back({Direction::upload, bad, 1});
  }
  m.calibrate(c);
  CHECK(!m.calibrated());
  CHECK(m.seconds(w, Side::cpu) == before);
  CHECK(m.calibration().rates.empty());
  CHECK(m.calibration().transfers.empty());
}

TEST_CASE("transfers cost their latency at least") {
  CostModel m;
  m.calibrate(linear(1e10, 1e10));
  CHECK(m.transfer(Direction::upload, 64) == doctest::Approx(10e-6).epsilon(0.01));
  CHECK(m.transfer(Direction::download, 0) == doctest::Approx(10e-6));
  CHECK(m.transfer(Direction::upload, 40e3) == doctest::Approx(50e-6).epsilon(0.01));
  CHECK(m.transfer(Direction::upload, 1e9) == doctest::Approx(1).epsilon(0.01));
}

TEST_CASE("what ran overrides the curve, serves its bucket, and survives a restart") {
  CostModel m;
  m.calibrate(linear(1e10, 1e10));
  const Work w = elementwise(m, "add", 100'000), near = elementwise(m, "add", 105'000),
             other = elementwise(m, "mul", 100'000);
  const double curve = m.seconds(w, Side::cpu);
  for (int i = 0; i < 40; i++) m.observe(w, Side::cpu, 3 * curve);
  CHECK(m.seconds(w, Side::cpu) == doctest::Approx(3 * curve).epsilon(0.01));
  CHECK(m.seconds(near, Side::cpu) == doctest::Approx(3 * 1.05 * curve).epsilon(0.01));
  CHECK(m.seconds(other, Side::cpu) == doctest::Approx(curve));
  CHECK(m.seconds(w, Side::gpu) == doctest::Approx(curve));
  CHECK(m.source(w, Side::cpu) == Source::observed);
  CHECK(m.source(w, Side::gpu) == Source::calibrated);
  // It is seconds that were seen: a new calibration does not move them.
  m.calibrate(linear(2e10, 1e10));
  CHECK(m.seconds(w, Side::cpu) == doctest::Approx(3 * curve).epsilon(0.01));

  const auto kept = m.observations();
  REQUIRE(kept.size() == 1);
  CHECK(kept[0].op == "add");
  CHECK(kept[0].count == 40);
  CostModel later;
  later.restore(kept);
  CHECK(later.seconds(elementwise(later, "add", 100'000), Side::cpu) ==
        doctest::Approx(3 * curve).epsilon(0.01));

  std::vector<Observation> bad;
  for (const double x : {0., -1., kNaN, kInf})
    bad.push_back({"add", Family::map, DType::f32, Side::cpu, 1, 1, x, 1});
  bad.push_back({"add", Family::map, DType::f32, Side::cpu, 1, kNaN, 1, 1});
  bad.push_back({"add", Family::map, DType::f32, Side::cpu, 1, 1, 1, 0});
  CostModel strict;
  strict.restore(bad);
  CHECK(strict.observations().empty());
  for (const double x : {0., -1., kNaN, kInf}) strict.observe(elementwise(strict, "add", 10), Side::cpu, x);
  CHECK(strict.observations().empty());
}

TEST_CASE("one spike flips no route; a lasting change does") {
  CostModel m;
  m.calibrate(linear(1e10, 1e10));
  TestBlock b;
  b.node(elementwise(m, "add", 1e6), {b.buffer(4e6, true, true)}, {b.buffer(4e6)});
  Partitioner p;
  std::vector<Side> sides;
  p.partition(b.view(), m, sides);
  REQUIRE(sides[0] == Side::cpu);  // equal: the CPU
  const Work& w = b.works[0];
  const double usual = m.seconds(w, Side::cpu);
  m.observe(w, Side::cpu, 1000 * usual);
  p.partition(b.view(), m, sides);
  CHECK(sides[0] == Side::cpu);
  for (int i = 0; i < 10; i++) m.observe(w, Side::cpu, usual);
  CHECK(m.seconds(w, Side::cpu) < 1.01 * usual);

  for (int i = 0; i < 20; i++) m.observe(w, Side::cpu, 1.1 * usual);  // within the hysteresis
  p.partition(b.view(), m, sides);
  CHECK(sides[0] == Side::cpu);
  for (int i = 0; i < 6; i++) m.observe(w, Side::cpu, 2 * usual);
  p.partition(b.view(), m, sides);
  CHECK(sides[0] == Side::gpu);
  CHECK(m.last_choice(w) == Side::gpu);
  for (int i = 0; i < 20; i++) m.observe(w, Side::cpu, 0.95 * usual);  // not 15 % better: stays
  p.partition(b.view(), m, sides);
  CHECK(sides[0] == Side::gpu);
  m.calibrate(Calibration(m.calibration()));  // forgets the side
  p.partition(b.view(), m, sides);
  CHECK(sides[0] == Side::cpu);
}

TEST_CASE("version rises when an estimate moves, not when it stands still") {
  CostModel m;
  const Work w = elementwise(m, "add", 1e6);
  const double t = m.seconds(w, Side::cpu);
  const auto v = m.version();
  for (int i = 0; i < 10; i++) m.observe(w, Side::cpu, t);
  CHECK(m.version() == v);
  m.observe(w, Side::cpu, t / 2);
  CHECK(m.version() > v);
}

TEST_CASE("the partition costs what the best of all 2^n assignments costs") {
  std::mt19937 rng(7);
  const auto uniform = [&](double lo, double hi) {
    return std::uniform_real_distribution<double>(lo, hi)(rng);
  };
  const auto below = [&](size_t n) { return static_cast<uint32_t>(rng() % n); };
  int mixed = 0, on_gpu = 0;
  for (int round = 0; round < 600; round++) {
    CostModel m;
    Calibration c;
    c.launch = {1e-7, 1e-7};
    for (size_t f = 0; f < kFamilies; f++)
      for (const Side s : {Side::cpu, Side::gpu})
        c.rates.push_back({static_cast<Family>(f), DType::f32, s, 1e6, 1e6, std::exp(uniform(-13, -7))});
    for (const Direction d : {Direction::upload, Direction::download})
      c.transfers.push_back({d, 1e6, std::exp(uniform(-14, -8))});
    m.calibrate(c);

    TestBlock b;
    for (uint32_t k = 1 + below(4); k-- > 0;)
      b.buffer(1 + below(4'000'000), below(2), below(2), below(4) == 0);
    const size_t n = 1 + below(10);
    for (size_t i = 0; i < n; i++) {
      std::vector<uint32_t> in(below(4)), out(1 + below(2));
      for (auto& x : in) x = below(b.buffers.size());
      for (auto& x : out)  // a new buffer, or one that is written again
        x = below(5) == 0 ? below(b.buffers.size())
                          : b.buffer(1 + below(4'000'000), false, false, below(3) == 0);
      const auto f = static_cast<Family>(below(kFamilies));
      b.node(m.work(m.key("op", f, DType::f32), uniform(1e5, 1e7), uniform(1e5, 1e7), below(6) != 0), in,
             out);
      if (below(3) == 0) m.chose(b.works.back(), static_cast<Side>(below(2)));
    }
    const Block block = b.view();
    double best = kInf;
    std::vector<Side> sides(n);
    for (uint32_t mask = 0; mask < 1u << n; mask++) {
      for (size_t i = 0; i < n; i++) sides[i] = static_cast<Side>(mask >> i & 1);
      best = std::min(best, cost_of(block, m, sides));
    }
    CostModel& model = m;
    std::vector<std::optional<Side>> last;
    for (const auto& w : b.works) last.push_back(model.last_choice(w));
    std::vector<Side> got;
    Partitioner().partition(block, model, got);
    REQUIRE(got.size() == n);
    const auto gpu = std::count(got.begin(), got.end(), Side::gpu);
    on_gpu += gpu == static_cast<long>(n);
    mixed += gpu > 0 && gpu < static_cast<long>(n);
    // The choice became the preference: judge it by the preferences that it was made under.
    model.calibrate(c);
    for (size_t i = 0; i < n; i++)
      if (last[i]) model.chose(b.works[i], *last[i]);
    CHECK(cost_of(block, model, got) == doctest::Approx(best).epsilon(1e-6));
  }
  CHECK(mixed > 100);
  CHECK(on_gpu > 30);
}

TEST_CASE("work is kept together where moving it costs more than it gains") {
  CostModel m;
  m.calibrate(linear(1e9, 1e10, 100e-6, 1e12));  // the GPU ten times faster, copies 100 µs
  const auto route = [&](bool host, bool device, int length, bool read) {
    TestBlock b;
    uint32_t x = b.buffer(40'000, host, device);
    for (int i = 0; i < length; i++) {
      const uint32_t y = b.buffer(40'000, false, false, read && i == length - 1);
      b.node(elementwise(m, "add", 10'000), {x, x}, {y});
      x = y;
    }
    m.calibrate(Calibration(m.calibration()));
    std::vector<Side> sides;
    Partitioner().partition(b.view(), m, sides);
    return std::count(sides.begin(), sides.end(), Side::gpu);
  };
  // 120 µs an op on the CPU, 14 µs on the GPU.
  CHECK(route(true, false, 1, true) == 0);   // 14 + 200 > 120
  CHECK(route(true, false, 1, false) == 1);  // 14 + 100 < 120
  CHECK(route(true, false, 3, true) == 3);   // 42 + 200 < 360
  CHECK(route(false, true, 1, true) == 1);
  m.calibrate(linear(1e10, 1e9, 100e-6, 1e12));  // now the CPU is faster: 12 against 120
  CHECK(route(false, true, 1, false) == 0);      // 12 + 100 < 120
  m.calibrate(linear(1e10, 5e9, 100e-6, 1e12));
  CHECK(route(false, true, 1, false) == 1);
  CHECK(route(true, false, 50, true) == 0);
}

TEST_CASE("a block that the CPU wins everywhere is settled without a graph") {
  CostModel m;
  m.calibrate(linear(1e10, 1e9));
  TestBlock b;
  uint32_t x = b.buffer(1024, true), y = b.buffer(1024, true, true);
  for (int i = 0; i < 256; i++) {
    const uint32_t z = b.buffer(1024);
    b.node(elementwise(m, "add", 256), {x, y}, {z});
    x = z;
  }
  const Block block = b.view();
  Partitioner p;
  std::vector<Side> sides;
  p.partition(block, m, sides);
  CHECK(p.cuts() == 0);
  CHECK(std::count(sides.begin(), sides.end(), Side::gpu) == 0);
  b.buffers[0] = {1024, false, true, false};
  p.partition(block, m, sides);
  CHECK(p.cuts() == 1);
  b.works[0].gpu_possible = false;
  for (auto& w : b.works) w.gpu_possible = false;
  p.partition(block, m, sides);
  CHECK(p.cuts() == 1);
  TestBlock none;
  p.partition(none.view(), m, sides);
  CHECK(sides.empty());
}

TEST_CASE("an explanation says which side, what it rests on and why") {
  CostModel m;
  m.calibrate(linear(1e9, 1e10, 100e-6, 1e12));
  TestBlock b;
  const uint32_t x = b.buffer(40'000, true), y = b.buffer(40'000, false, false, true), z = b.buffer(40'000);
  b.node(elementwise(m, "add", 10'000), {x, x}, {y});
  b.node(m.work(m.key("svd", Family::map, DType::f32), 0, 120'000, false), {y}, {z});
  const Block block = b.view();
  const Label labels[] = {{"add", "[10000] [10000]", ""},
                          {"svd", "[100,100]", "no Vulkan variant: fp64 only"}};
  std::vector<Side> sides;
  Partitioner().partition(block, m, sides);
  auto rows = explain(block, m, sides, labels);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].op == "add");
  CHECK(rows[0].problem == "[10000] [10000]");
  CHECK(rows[0].side == Side::cpu);
  CHECK(rows[0].cpu == doctest::Approx(120.1e-6));
  CHECK(rows[0].gpu == doctest::Approx(14e-6));
  CHECK(rows[0].transfer == 0);
  CHECK(rows[0].source == Source::calibrated);
  CHECK(rows[0].reason == "the gpu alone would be 8.58x faster, but needs 200 µs more of copies");
  CHECK(rows[1].gpu == kInf);
  CHECK(rows[1].reason == "no Vulkan variant: fp64 only");

  const Side forced[] = {Side::gpu, Side::cpu};
  rows = explain(block, m, forced, labels, "ATTN_VK_ROUTE=gpu");
  CHECK(rows[0].reason == "ATTN_VK_ROUTE=gpu");
  CHECK(rows[0].transfer == doctest::Approx(100e-6).epsilon(0.01));
  CHECK(rows[1].transfer == doctest::Approx(100e-6).epsilon(0.01));
  CHECK(rows[1].reason == "no Vulkan variant: fp64 only");
}
