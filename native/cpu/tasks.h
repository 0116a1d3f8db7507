// Tasks that differ in length, for the team.
#pragma once

#include <atomic>

#include "team.h"

namespace attn::cpu {

// Calls fn(task, memory) for each of `tasks`, which threads take in order as they get free; memory() gives
// what a thread needs for its tasks. What comes of a task must not depend on who runs it.
template <class Memory, class F>
void take_tasks(int64_t tasks, Memory&& memory, F&& fn) {
  std::atomic<int64_t> next{0};
  // A range for each thread, of which it takes no notice.
  parallel_for(std::min<int64_t>(team_size(), tasks), 1, [&](int64_t, int64_t) {
    auto* const own = memory();
    for (int64_t n; (n = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) fn(n, own);
  });
}

}  // namespace attn::cpu
