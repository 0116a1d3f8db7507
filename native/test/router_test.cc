// The partition of a block and its explanation.
#include "engine/partition.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "engine/explain.h"
#include "router_fixture.h"

using namespace attn;
using namespace attn::test;

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

TEST_CASE("an instruction may have more operands than 16 bits count") {
  CostModel m;
  TestBlock b;
  std::vector<uint32_t> in(70'000);
  for (auto& x : in) x = b.buffer(64, true);
  const uint32_t out = b.buffer(64 * in.size(), false, false, true);
  b.node(m.work(m.key("concat", Family::move, DType::f32), 0, 1e6, true), in, {out});
  const Side sides[] = {Side::gpu};
  size_t up = 0, down = 0;
  for_each_copy(b.view(), sides,
                [&](uint32_t, Direction d, uint32_t) { d == Direction::upload ? up++ : down++; });
  CHECK(up == in.size());
  CHECK(down == 1);
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

TEST_CASE("a block that comes again is not cut again, until it or an estimate changes") {
  CostModel m;
  m.calibrate(linear(1e9, 1e10, 1e-6));
  TestBlock b;
  const uint32_t x = b.buffer(40'000, true), y = b.buffer(40'000), z = b.buffer(40'000, false, false, true);
  b.node(elementwise(m, "add", 10'000), {x, x}, {y});
  b.node(elementwise(m, "add", 10'000), {y, x}, {z});
  Partitioner p;
  std::vector<Side> sides;
  const auto cuts = [&] {
    const uint64_t before = p.cuts();
    p.partition(b.view(), m, sides);
    return p.cuts() - before;
  };
  const auto all = [&](Side s) { return std::count(sides.begin(), sides.end(), s) == 2; };
  CHECK(cuts() == 1);
  CHECK(cuts() == 0);
  CHECK(all(Side::gpu));
  b.buffers[x].device = true;
  CHECK(cuts() == 1);
  b.buffers[z].read = false;
  CHECK(cuts() == 1);
  b.buffers[y].bytes++;
  CHECK(cuts() == 1);
  std::swap(b.operands[3], b.operands[4]);
  CHECK(cuts() == 1);
  b.works[1] = elementwise(m, "add", 10'001);
  CHECK(cuts() == 1);
  b.works[1].gpu_possible = false;
  CHECK(cuts() == 1);
  CHECK(sides[1] == Side::cpu);
  b.works[1].gpu_possible = true;
  CHECK(cuts() == 0);
  CHECK(all(Side::gpu));
  for (int i = 0; i < 20; i++) m.observe(b.works[0], Side::gpu, 1);
  cuts();
  CHECK(all(Side::cpu));
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
