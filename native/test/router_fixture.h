// Ops, blocks and calibrations that the router's tests share.
#pragma once

#include <limits>
#include <vector>

#include "engine/partition.h"

namespace attn::test {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kInf = std::numeric_limits<double>::infinity();

inline Work elementwise(CostModel& m, const char* op, double n, int buffers = 3) {
  return m.work(m.key(op, Family::map, DType::f32), n, 4.0 * buffers * n, true);
}
inline Work square_matmul(CostModel& m, double n) {
  return m.work(m.key("matmul", Family::gemm, DType::f32), 2 * n * n * n, 12 * n * n, true);
}

// A block that owns its arrays.
struct TestBlock {
  std::vector<Work> works;
  std::vector<BlockNode> nodes;
  std::vector<uint32_t> operands;
  std::vector<BlockBuffer> buffers;

  uint32_t buffer(uint64_t bytes, bool host = false, bool device = false, bool read = false) {
    buffers.push_back({bytes, host, device, read});
    return static_cast<uint32_t>(buffers.size() - 1);
  }
  void node(const Work& w, std::vector<uint32_t> in, std::vector<uint32_t> out) {
    works.push_back(w);
    nodes.push_back({nullptr, static_cast<uint32_t>(operands.size()), static_cast<uint32_t>(in.size()),
                     static_cast<uint32_t>(out.size())});
    operands.insert(operands.end(), in.begin(), in.end());
    operands.insert(operands.end(), out.begin(), out.end());
  }
  Block view() {
    for (size_t i = 0; i < nodes.size(); i++) nodes[i].work = &works[i];
    return {nodes, operands, buffers};
  }
};

// Launch plus bandwidth, exactly: maps at `cpu` and `gpu` bytes per second, copies at `bandwidth`.
inline Calibration linear(double cpu, double gpu, double latency = 10e-6, double bandwidth = 1e9) {
  Calibration c;
  c.launch = {0.1e-6, 2e-6};
  c.rates = {{Family::map, DType::f32, Side::cpu, 0, 1e6, 0.1e-6 + 1e6 / cpu},
             {Family::map, DType::f32, Side::gpu, 0, 1e6, 2e-6 + 1e6 / gpu}};
  for (const Direction d : {Direction::upload, Direction::download})
    c.transfers.insert(c.transfers.end(), {{d, 64, latency}, {d, 1e8, latency + 1e8 / bandwidth}});
  return c;
}

}  // namespace attn::test
