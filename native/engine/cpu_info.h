// What the doctor and the calibration key say of the processor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attn::engine {

struct CpuInfo {
  std::string model;
  std::vector<std::string> features;  // vector extensions that the kernels can use
  int cores = 1;                      // that this process may use
  uint64_t memory_bytes = 0;
};

CpuInfo cpu_info();

}  // namespace attn::engine
