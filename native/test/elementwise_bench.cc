// Times the element-wise kernels beside a plain loop over the same team: run with
//   attn_native_test --no-skip --test-case="time*"
// Interleaved, the best twentieth of many calls (other work comes and goes on a shared machine), operands in
// place as the engine would hand them over.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#include "cpu/team.h"
#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

double seconds_of(const std::function<void()>& fn, int calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; i++) fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
}

// Best twentieth of interleaved rounds.
std::vector<double> best(const std::vector<std::function<void()>>& all, double budget) {
  std::vector<std::vector<double>> times(all.size());
  std::vector<int> calls;
  for (const auto& fn : all) {
    fn();
    calls.push_back(std::max(1, static_cast<int>(300e-6 / std::max(1e-8, seconds_of(fn, 1)))));
  }
  const auto start = std::chrono::steady_clock::now();
  do {
    for (size_t i = 0; i < all.size(); i++) times[i].push_back(seconds_of(all[i], calls[i]));
  } while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < budget);
  std::vector<double> out;
  for (auto& t : times) {
    std::nth_element(t.begin(), t.begin() + static_cast<std::ptrdiff_t>(t.size() / 20), t.end());
    out.push_back(t[t.size() / 20]);
  }
  return out;
}

std::function<void()> call(const char* name, std::vector<double> attrs, std::vector<const void*> in,
                           void* out) {
  Attrs packed(attrs);
  return [kernel = find_kernel(name)(packed), in = std::move(in), out] {
    void* const outs[] = {out};
    kernel({in, outs});
  };
}
}  // namespace

TEST_CASE("time element-wise kernels" * doctest::skip()) {
  own_team(available_cores());
  std::printf("%-10s %6s %10s %10s %8s\n", "op", "size", "kernel us", "loop us", "GB/s");
  for (const int64_t side : {16, 64, 128, 256, 512, 1024, 2048}) {
    const int64_t n = side * side;
    const auto count = static_cast<size_t>(n);
    const Buffer a = buffer_of(std::vector<float>(count, 1.5f)),
                 b = buffer_of(std::vector<float>(count, -2.f));
    const Buffer c(count * 4);
    const float* x = static_cast<const float*>(a.data());
    const float* y = static_cast<const float*>(b.data());
    float* z = static_cast<float*>(c.data());
    const double size = static_cast<double>(n);
    const auto loop = [=] {
#pragma omp parallel for simd if (n > 32768)
      for (int64_t i = 0; i < n; i++) z[i] = x[i] + y[i];
    };
    const auto t = best(
        {call("binary", {0, 0, 1, size, 1, 1, 1, 1}, {x, y}, z), loop, call("unary", {11, 0, size}, {x}, z),
         call("unary", {12, 0, size}, {x}, z), call("unary", {2, 0, size}, {x}, z)},
        0.6);
    std::printf("%-10s %6ld %10.2f %10.2f %8.1f\n", "add", side, t[0] * 1e6, t[1] * 1e6, size * 12e-9 / t[0]);
    std::printf("%-10s %6ld %10.2f %10s %8.1f\n", "relu", side, t[2] * 1e6, "", size * 8e-9 / t[2]);
    std::printf("%-10s %6ld %10.2f %10s %8.1f\n", "gelu", side, t[3] * 1e6, "", size * 8e-9 / t[3]);
    std::printf("%-10s %6ld %10.2f %10s %8.1f\n", "exp", side, t[4] * 1e6, "", size * 8e-9 / t[4]);
  }
}
