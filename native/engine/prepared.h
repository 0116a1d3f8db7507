// A prepared op: everything the executor needs to run one op at one set of shapes on either side.
// Made once by src/ops/record.ts; a block refers to it by number.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "../cpu/kernel.h"
#include "../vulkan/device.h"
#include "cost_model.h"
#include "types.h"

namespace attn::engine {

inline constexpr uint32_t kFaultOperand = 255;  // the context's fault words: see shaders that check indices

struct OperandInfo {
  uint64_t bytes = 0;
  DType dtype = DType::f32;
  double low = 0, high = 1;  // range of values that suit the op: for self-tests and calibration
};

struct PlannedBind {
  uint32_t operand;  // inputs, outputs, scratch, or kFaultOperand
  uint64_t offset, bytes;
  bool whole, write;
};

struct PlannedDispatch {
  std::string shader;
  std::vector<uint32_t> spec, push;
  uint64_t groups = 0;
  std::vector<PlannedBind> binds;
  vulkan::Pipeline* pipeline = nullptr;  // filled on first use
};

struct Prepared {
  uint32_t number = 0;  // under which blocks name it
  std::string op, problem, dtype, family;
  std::vector<OperandInfo> inputs, outputs;
  std::vector<uint32_t> updates;  // inputs that the op changes in place
  bool spoils = false;            // where an input failed, what it updates failed too
  std::string kernel;
  std::vector<double> attrs;
  cpu::Kernel run;                  // made on first use
  std::string variant, gpu_reason;  // reason why the GPU cannot run it; empty when it can
  std::vector<PlannedDispatch> dispatches;
  std::vector<uint64_t> scratch;
  double flops = 0, bytes = 0;
  int32_t probe = -1;
  double probe_tolerance = 0;
  bool probed = false;  // the variant passed its self-test on this driver
  Work work;            // what the router reads: filled when the executor takes the op
  uint32_t runs[2] = {};

  bool changes(size_t input) const {
    return std::find(updates.begin(), updates.end(), input) != updates.end();
  }
};

}  // namespace attn::engine
