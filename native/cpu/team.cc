#include "team.h"

#include <sched.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace attn::cpu {
namespace {

int affinity_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
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

}  // namespace attn::cpu
