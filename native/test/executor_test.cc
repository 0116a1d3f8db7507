// Blocks run on the CPU alone: views, ops that change their inputs, and what is left of those when they fail.
#include <doctest/doctest.h>

#include <cstring>
#include <future>
#include <string>

#include "engine/executor.h"
#include "engine/profile.h"

namespace {
using namespace attn;
using namespace attn::engine;

// x += 1 over the floats of the one operand, which it changes; the other kind stops halfway.
template <bool kFails>
cpu::Kernel make_increment(cpu::Attrs& attrs) {
  const int64_t n = attrs.i();
  return [n](const cpu::Operands& args) {
    for (int64_t i = 0; i < n; i++) {
      if (kFails && 2 * i >= n) throw Error("ATTN_INTERNAL", "stopped halfway");
      static_cast<float*>(args.out[0])[i] = static_cast<const float*>(args.in[0])[i] + 1;
    }
  };
}
ATTN_CPU_KERNEL(test_increment, make_increment<false>);
ATTN_CPU_KERNEL(test_half_increment, make_increment<true>);

Prepared changing(uint32_t number, const std::string& kernel, int64_t n) {
  Prepared p;
  p.number = number;
  p.op = p.kernel = kernel;
  p.inputs = {{.bytes = static_cast<uint64_t>(n) * 4}};
  p.updates = {0};
  p.attrs = {static_cast<double>(n)};
  p.gpu_reason = "there is none";
  return p;
}

struct Blocks {
  Executor executor{
      ExecutorOptions{.device = {}, .host_budget = 1 << 20, .cache_folder = {}, .version = {}, .warn = {}}};

  // Runs a block; the code of its error, or nothing.
  std::string run(Submission submission) {
    std::promise<std::string> code;
    submission.finished = [&](const Error* error) { code.set_value(error ? error->code : ""); };
    executor.submit(std::move(submission));
    return code.get_future().get();
  }
  Upload upload(const std::vector<float>& x) {
    const Upload u{executor.pool().allocate(x.size() * 4), x.size() * 4};
    std::memcpy(u.block.data, x.data(), x.size() * 4);
    return u;
  }
  uint64_t live() {
    std::promise<uint64_t> count;
    executor.post([&] { count.set_value(executor.buffers().live_buffers()); });
    return count.get_future().get();
  }
};

std::vector<float> ramp(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; i++) x[i] = static_cast<float>(i);
  return x;
}
}  // namespace

TEST_CASE("a view names a part of its parent, whose bytes last as long as either is used") {
  Blocks blocks;
  Submission s;
  std::vector<float> x = ramp(128), part(2), whole(128);
  s.uploads.push_back(blocks.upload(x));
  s.prepared.push_back(changing(0, "test_increment", 2));
  s.targets = {{part.data(), 8}, {whole.data(), 512}};
  // The view begins 256 bytes in; both are freed after their last use.
  s.words = {kAdopt, 70, 0, kView, 71, 70, 1, 0, 71, kRead, 71, 0, kRead, 70, 1, kFree, 70, kFree, 71};
  CHECK(blocks.run(std::move(s)) == "");
  CHECK(part == std::vector<float>{65, 66});
  x[64] += 1, x[65] += 1;
  CHECK(whole == x);
  CHECK(blocks.live() == 0);
}

TEST_CASE("what an op changes fails with it once it has begun, and stays as it was before") {
  for (const bool begins : {true, false}) {
    CAPTURE(begins);
    Blocks blocks;
    Submission s;
    s.uploads.push_back(blocks.upload(ramp(4)));
    s.prepared.push_back(changing(0, begins ? "test_half_increment" : "no such kernel", 4));
    s.words = {kAdopt, 70, 0, 0, 70};
    s.barrier = true;
    CHECK(blocks.run(std::move(s)) == "ATTN_INTERNAL");

    std::vector<float> got(4);
    Submission read;
    read.targets = {{got.data(), 16}};
    read.words = {kRead, 70, 0};
    CHECK(blocks.run(std::move(read)) == (begins ? "ATTN_INTERNAL" : ""));
    CHECK((got == ramp(4)) == !begins);
  }
}

TEST_CASE("a profile keeps apart ops that were given the same number one after the other") {
  Profile profile;
  Prepared p = changing(3, "one", 4);
  p.problem = "[4]";
  profile.add(p, Side::cpu, 1);
  profile.add(p, Side::cpu, 1);
  p = changing(3, "other", 4);
  p.problem = "[4]";
  profile.add(p, Side::cpu, 5);
  const auto rows = profile.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].op == "one");
  CHECK(rows[0].count == 2);
  CHECK(rows[0].seconds == 2);
  CHECK(rows[1].op == "other");
  CHECK(rows[1].seconds == 5);
}
