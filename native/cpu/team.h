// The thread team: OpenMP's, shared with oneDNN, owned by the executor thread that calls the kernels.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace attn::cpu {

// Cores that this process may really use: affinity mask and cgroup CPU quota, rounded up; ATTN_VK_THREADS
// overrides.
int available_cores();

// Makes the calling thread the leader of a team of `threads` (the executor does, once), each on a core of its
// own where there is one for each.
void own_team(int threads);

inline int team_size() { return omp_get_max_threads(); }

// Splits [0, n) into one contiguous range per thread, each at least `grain` long and starting at a
// multiple of `align`, and calls fn(begin, end). The split depends on n and the team alone: results repeat.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& fn, int64_t align = 1) {
  const int64_t threads = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, team_size());
  if (threads == 1) {
    if (n > 0) fn(int64_t{0}, n);
    return;
  }
  const int64_t chunk = ((n + threads - 1) / threads + align - 1) / align * align;
#pragma omp parallel num_threads(static_cast <int>(threads))
  {
    const int64_t begin = std::min<int64_t>(n, omp_get_thread_num() * chunk);
    const int64_t end = std::min<int64_t>(n, begin + chunk);
    if (begin < end) fn(begin, end);
  }
}

}  // namespace attn::cpu
