// The cost model: defaults, curves, fallbacks, what ran.
#include "engine/cost_model.h"

#include <doctest/doctest.h>

#include <cmath>

#include "router_fixture.h"

using namespace attn;
using namespace attn::test;

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
