// Sharing work out: every element once, however many threads OpenMP grants, and no failure lost.
#include <doctest/doctest.h>

#include <stdexcept>
#include <vector>

#include "cpu/team.h"

using namespace attn::cpu;

namespace {

struct Team {  // of so many threads, while it lives
  explicit Team(int threads) : before(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~Team() { omp_set_num_threads(before); }
  int before;
};

std::vector<int> visits(int64_t n, int64_t grain, int64_t align) {
  std::vector<int> seen(static_cast<size_t>(n));
  parallel_for(
      n, grain,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) seen[static_cast<size_t>(i)]++;
      },
      align);
  return seen;
}

}  // namespace

TEST_CASE("parallel_for visits every element once") {
  for (const int threads : {1, 2, 3, 5}) {
    const Team team(threads);
    for (const int64_t n : {0, 1, 7, 64, 1000})
      for (const int64_t align : {1, 64}) CHECK(visits(n, 1, align) == std::vector<int>(size_t(n), 1));
  }
}

TEST_CASE("parallel_for inside parallel_for, where OpenMP gives one thread, still visits everything") {
  const Team team(4);
  std::vector<std::vector<int>> seen(4);
  parallel_for(4, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) seen[static_cast<size_t>(i)] = visits(1000, 1, 1);
  });
  for (const auto& inner : seen) CHECK(inner == std::vector<int>(1000, 1));
}

TEST_CASE("what a range throws reaches the caller, after the other ranges ran") {
  const Team team(4);
  std::vector<int> seen(4);
  const auto work = [&](int64_t begin, int64_t) {
    if (begin == 2) throw std::runtime_error("range 2");
    seen[static_cast<size_t>(begin)] = 1;
  };
  CHECK_THROWS_WITH(parallel_for(4, 1, work), "range 2");
  CHECK(seen == std::vector<int>{1, 1, 0, 1});
}
