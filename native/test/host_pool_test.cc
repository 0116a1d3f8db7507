// The host pool: blocks by size class, and what serves where a class has none.
#include "engine/host_pool.h"

#include <doctest/doctest.h>

using attn::engine::HostPool;

TEST_CASE("the pool gives a block of its class back, or a little larger one that its class can spare") {
  constexpr uint64_t kMiB = 1 << 20;
  HostPool pool(uint64_t{1} << 30, uint64_t{1} << 30);
  const auto first = pool.allocate(16 * kMiB), second = pool.allocate(16 * kMiB);
  pool.release(first);
  const auto lone = pool.allocate(12 * kMiB);  // the one free block is left to its own class
  CHECK(lone.data != first.data);
  pool.release(lone);
  CHECK(pool.allocate(12 * kMiB).data == lone.data);
  pool.release(second);  // two of 16 MiB are free now, and none of 12
  const uint64_t pooled = pool.stats().pooled;
  const auto spared = pool.allocate(12 * kMiB);
  CHECK((spared.data == first.data || spared.data == second.data));
  CHECK(pool.stats().pooled == pooled - 16 * kMiB);
  pool.release(spared);
  CHECK(pool.stats().pooled == pooled);               // it went back whole
  CHECK(pool.allocate(4 * kMiB).data != first.data);  // four times as large will not do
}
