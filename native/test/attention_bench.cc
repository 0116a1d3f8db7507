// Times attention and its gradient, causal, operands [B, T, H, D]: run with
//   attn_native_test --no-skip --test-case="time attention*"
// GFLOP/s count the causal half: 2 T^2 D a head forward, 2.5 times that for the gradient. Minima, since other
// work comes and goes on a shared machine; ATTN_VK_THREADS=1 for one core.
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

double least(const std::function<void()>& fn, double budget) {
  double best = 1e9, spent = 0;
  for (int n = 0; n < 3 || (spent < budget && n < 2000); n++) {
    const auto start = std::chrono::steady_clock::now();
    fn();
    const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::min(best, s), spent += s;
  }
  return best;
}

Buffer filled(DType dtype, int64_t n, unsigned seed) {
  std::vector<float> x(static_cast<size_t>(n));
  unsigned state = seed * 2654435761u + 1;
  for (float& v : x) {
    state = state * 1664525u + 1013904223u;
    v = static_cast<float>(state >> 8) / 8388608.0f - 1;
  }
  if (dtype == DType::f32) return buffer_of(x);
  std::vector<BFloat> narrow;
  for (const float v : x) narrow.push_back(from_f32<BFloat>(v));
  return buffer_of(narrow);
}

void time_one(DType dtype, double B, double T, double H, double D, bool causal) {
  const double row = H * D;
  const auto n = static_cast<int64_t>(B * T * H * D), stats = static_cast<int64_t>(B * H * T);
  const Buffer q = filled(dtype, n, 1), k = filled(dtype, n, 2), v = filled(dtype, n, 3),
               dy = filled(dtype, n, 4);
  const Buffer o = filled(dtype, n, 5), lse = filled(DType::f32, stats, 6), none(64);
  const Buffer dq = filled(dtype, n, 7), dk = filled(dtype, n, 8), dv = filled(dtype, n, 9);
  std::vector<double> common{static_cast<double>(dtype),
                             0,
                             B,
                             T,
                             T,
                             H,
                             H,
                             D,
                             1 / std::sqrt(D),
                             causal * 1.0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             0,
                             -1,
                             0,
                             0};
  const auto make = [&](const char* name, std::vector<int> operands, std::vector<double> tail) {
    std::vector<double> packed = common;
    for (const int operand : operands) packed.insert(packed.end(), {operand * 1.0, 0.0, T * row, row, D});
    packed.insert(packed.end(), tail.begin(), tail.end());
    Attrs attrs(packed);
    return find_kernel(name)(attrs);
  };
  const Kernel forward = make("attention", {0, 1, 2, 3}, {4, -1});
  const Kernel backward = make("attention_backward", {1, 2, 3, 4, 0, 6, 7, 8}, {5, -1});
  const void* const fin[] = {q.data(), k.data(), v.data()};
  void* const fout[] = {o.data(), lse.data(), none.data()};
  const void* const bin[] = {dy.data(), q.data(), k.data(), v.data(), o.data(), lse.data()};
  void* const bout[] = {dq.data(), dk.data(), dv.data()};
  const double f = least([&] { forward({fin, fout}); }, 0.4), b = least([&] { backward({bin, bout}); }, 0.4);
  const double flops = 4 * B * H * T * T * D / (causal ? 2 : 1) * 1e-9;
  std::printf("%-5s B%-3g T%-5g H%-2g D%-4g %9.3f ms %6.0f | %9.3f ms %6.0f | both %6.0f GFLOP/s\n",
              dtype == DType::f32 ? "fp32" : "bf16", B, T, H, D, f * 1e3, flops / f, b * 1e3, 2.5 * flops / b,
              3.5 * flops / (f + b));
}
}  // namespace

TEST_CASE("time attention" * doctest::skip()) {
  own_team(available_cores());
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const double T : {512, 1024, 2048, 4096}) time_one(dtype, 4, T, 8, 64, true);
}
TEST_CASE("time attention in training" * doctest::skip()) {
  own_team(available_cores());
  for (const DType dtype : {DType::f32, DType::bf16}) {
    time_one(dtype, 8, 64, 4, 16, true);
    time_one(dtype, 32, 64, 4, 32, true);
    time_one(dtype, 16, 256, 4, 32, true);
    time_one(dtype, 16, 256, 8, 32, true);
  }
}
