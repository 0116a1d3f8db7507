#include "team.h"

#ifdef __linux__
#include <sched.h>
#endif

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace attn::cpu {
namespace {

int affinity_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// cgroup v2 "cpu.max" holds "<quota|max> <period>"; v1 keeps the two in files of their own (quota -1: none).
double quota_cores() {
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period)
    return quota == "max" || period <= 0 ? HUGE_VAL : std::atof(quota.c_str()) / period;
  double q = -1;
  std::ifstream v1q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), v1p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1q >> q && v1p >> period && q > 0 && period > 0) return q / period;
  return HUGE_VAL;
}

}  // namespace

int available_cores() {
  if (const char* wanted = std::getenv("ATTN_VK_THREADS"); wanted && std::atoi(wanted) > 0)
    return std::atoi(wanted);
  return static_cast<int>(std::max(1.0, std::min<double>(affinity_cores(), std::ceil(quota_cores()))));
}

// A thread that wakes is often put on the core of the one that woke it, where it waits for a time slice (4
// ms) behind a leader that spins for it; bound threads cannot meet. Only the team is bound, never the thread
// that loaded the addon.
void own_team(int threads) {
  omp_set_num_threads(threads);
#ifdef __linux__
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) != threads || threads < 2)
    return;
  std::vector<int> cores;
  for (int c = 0; c < CPU_SETSIZE; c++)
    if (CPU_ISSET(c, &allowed)) cores.push_back(c);
#pragma omp parallel num_threads(threads)
  {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(cores[omp_get_thread_num()], &mine);
    sched_setaffinity(0, sizeof mine, &mine);
  }
#endif
}

}  // namespace attn::cpu
