// The thread team: OpenMP's, shared with oneDNN, owned by the executor thread that calls the kernels.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <exception>

namespace attn::cpu {

// Cores that this process may really use: affinity mask and cgroup CPU quota, rounded up; ATTN_VK_THREADS
// overrides.
int available_cores();

// Makes the calling thread the leader of a team of `threads` (the executor does, once), each on a core of its
// own where there is one for each.
void own_team(int threads);

inline int team_size() { return omp_get_max_threads(); }

// Splits [0, n) into one contiguous range per thread, each at least `grain` long and starting at a
// multiple of `align`, and calls fn(begin, end). The split depends on n and the team alone: results repeat,
// and OpenMP may give fewer threads than were asked for (one, inside another parallel_for): they share the
// ranges out. What fn throws reaches the caller once all ranges are done; of several, one does.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& fn, int64_t align = 1) {
  const int64_t threads = std::clamp<int64_t>(n / std::max<int64_t>(grain, 1), 1, team_size());
  if (threads == 1) {
    if (n > 0) fn(int64_t{0}, n);
    return;
  }
  const int64_t chunk = ((n + threads - 1) / threads + align - 1) / align * align;
  std::exception_ptr failure;
#pragma omp parallel num_threads(static_cast <int>(threads))
  for (int64_t t = omp_get_thread_num(); t < threads; t += omp_get_num_threads()) {
    const int64_t begin = std::min<int64_t>(n, t * chunk), end = std::min<int64_t>(n, begin + chunk);
    try {
      if (begin < end) fn(begin, end);
    } catch (...) {  // must not leave the region: OpenMP would end the process
#pragma omp critical(attn_parallel_for)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace attn::cpu
