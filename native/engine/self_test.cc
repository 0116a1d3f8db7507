#include "self_test.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "../cpu/element.h"
#include "executor.h"

namespace attn::engine {
namespace {

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Deterministic values in [low, high]: the same on every run.
void fill(void* data, const OperandInfo& info) {
  const size_t n = info.bytes / size_of(info.dtype);
  uint64_t state = 0x9e3779b97f4a7c15u + info.bytes;
  for (size_t i = 0; i < n; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const double unit = static_cast<double>(state >> 11) * 0x1p-53;
    const double value = info.low + unit * (info.high - info.low);
    switch (info.dtype) {
      case DType::f32:
        static_cast<float*>(data)[i] = static_cast<float>(value);
        break;
      case DType::f16:
        static_cast<cpu::Half*>(data)[i] = cpu::from_f32<cpu::Half>(static_cast<float>(value));
        break;
      case DType::bf16:
        static_cast<cpu::BFloat*>(data)[i] = cpu::from_f32<cpu::BFloat>(static_cast<float>(value));
        break;
      case DType::i32:
        static_cast<int32_t*>(data)[i] = static_cast<int32_t>(std::lround(value));
        break;
      case DType::u8:
        static_cast<uint8_t*>(data)[i] = static_cast<uint8_t>(std::clamp(value, 0.0, 255.0));
        break;
      case DType::boolean:
        static_cast<uint8_t*>(data)[i] = unit < 0.5;
        break;
    }
  }
}

double value_at(const void* data, DType dtype, size_t i) {
  switch (dtype) {
    case DType::f32:
      return static_cast<const float*>(data)[i];
    case DType::f16:
      return cpu::to_f32(static_cast<const cpu::Half*>(data)[i]);
    case DType::bf16:
      return cpu::to_f32(static_cast<const cpu::BFloat*>(data)[i]);
    case DType::i32:
      return static_cast<const int32_t*>(data)[i];
    default:
      return static_cast<const uint8_t*>(data)[i];
  }
}

// Operands of one trial: inputs filled on the host, outputs named; all freed at the end. Results are the
// outputs, then the inputs that the op changes.
class Trial {
 public:
  Trial(Executor& executor, Prepared& p) : executor_(executor), p_(p) {
    for (size_t i = 0; i < p.inputs.size() + p.outputs.size(); i++) ids_.push_back(static_cast<int32_t>(i));
    refill();
    for (size_t i = 0; i < p.outputs.size(); i++) results_.push_back(p.inputs.size() + i);
    for (const uint32_t i : p.updates) results_.push_back(i);
  }
  // Fresh inputs, as before any run.
  void refill() {
    for (size_t i = 0; i < p_.inputs.size(); i++)
      fill(executor_.buffers().create_on_host(ids_[i], p_.inputs[i].bytes), p_.inputs[i]);
  }
  ~Trial() {
    for (const int32_t id : ids_) executor_.buffers().release(id);
  }
  void run(Side side, bool spoil = false) {
    if (side == Side::gpu)
      executor_.run_on_gpu(p_, ids_, 0, spoil);
    else
      executor_.run_on_cpu(p_, ids_);
  }
  size_t results() const { return results_.size(); }
  const OperandInfo& info(size_t i) const {
    const size_t at = results_[i];
    return at < p_.inputs.size() ? p_.inputs[at] : p_.outputs[at - p_.inputs.size()];
  }
  vulkan::Memory* result_memory(size_t i) { return executor_.buffers().to_device(ids_[results_[i]]); }
  const void* result(size_t i) { return executor_.buffers().to_host(ids_[results_[i]]); }

 private:
  Executor& executor_;
  Prepared& p_;
  std::vector<int32_t> ids_;
  std::vector<size_t> results_;  // places in ids_
};

// Seconds of one run within a batch of about `length`: the fastest of several batches, for noise only ever
// adds. Short batches let one of them slip between the stalls of a busy machine.
double time_batches(double budget, double length, const std::function<void(int)>& batch) {
  batch(1);  // compiles, allocates
  const auto first = Clock::now();
  batch(1);
  double best = std::max(since(first), 1e-8);
  const int runs = static_cast<int>(std::clamp(length / best, 1.0, 64.0));
  const auto start = Clock::now();
  for (int batches = 0; batches < 3 || (batches < 64 && since(start) < budget); batches++) {
    const auto begin = Clock::now();
    batch(runs);
    best = std::min(best, since(begin) / runs);
    if (since(start) > 2 * budget) break;
  }
  return best;
}

}  // namespace

std::string self_test(Executor& executor, Prepared& p, double tolerance) {
  try {
    Trial trial(executor, p);
    trial.run(Side::cpu);
    std::vector<std::vector<char>> expected;
    for (size_t i = 0; i < trial.results(); i++) {
      const char* data = static_cast<const char*>(trial.result(i));
      expected.emplace_back(data, data + trial.info(i).bytes);
    }
    if (!p.updates.empty()) trial.refill();
    trial.run(Side::gpu, true);
    for (size_t i = 0; i < trial.results(); i++) {
      const auto& info = trial.info(i);
      const void* got = trial.result(i);
      const size_t n = info.bytes / size_of(info.dtype);
      for (size_t k = 0; k < n; k++) {
        const double a = value_at(expected[i].data(), info.dtype, k), b = value_at(got, info.dtype, k);
        if (std::abs(a - b) <= 2 * tolerance * std::max(1.0, std::abs(a)) ||
            (std::isnan(a) && std::isnan(b)) || a == b)
          continue;
        return p.problem + ": element " + std::to_string(k) + " is " + std::to_string(b) +
               " where the CPU gives " + std::to_string(a);
      }
    }
    return {};
  } catch (const Error& error) {
    if (error.code == "ATTN_OUT_OF_MEMORY" || error.code == "ATTN_DEVICE_LOST") throw;
    return p.problem + ": " + error.what();
  } catch (const std::exception& error) {
    return p.problem + ": " + error.what();
  }
}

Calibration measure(Executor& executor, const std::vector<int32_t>& prepared, double budget) {
  constexpr double kCpuBatch = 2e-4,
                   kGpuBatch = 2e-3;  // a GPU batch hides one submit and one wait in many launches
  Calibration result;
  vulkan::Device* device = executor.device();
  const auto start = Clock::now();
  const double share = budget / (3.0 * prepared.size() + 6);

  // Copies first: without them no choice is sound.
  if (device && !executor.stopping()) {
    std::vector<char> host(4 << 20);
    for (const uint64_t bytes : {uint64_t{4} << 10, uint64_t{256} << 10, uint64_t{4} << 20}) {
      vulkan::Memory* memory = device->allocate(bytes);
      const auto size = static_cast<double>(bytes);
      const double up = time_batches(share, kGpuBatch, [&](int runs) {
        for (int i = 0; i < runs; i++) device->upload(memory, 0, host.data(), bytes);
        device->finish();
      });
      const double down = time_batches(share, kGpuBatch, [&](int runs) {
        for (int i = 0; i < runs; i++) device->download(memory, 0, host.data(), bytes);
      });
      result.transfers.push_back({Direction::upload, size, up});
      result.transfers.push_back({Direction::download, size, down});
      device->release(memory);
    }
  }

  double back = 0;  // seconds from a launch to the host having seen its result, less the launch
  for (const int32_t id : prepared) {
    Prepared& p = executor.prepared(id);
    for (const Side side : {Side::cpu, Side::gpu}) {
      // Problems come in order of weight: past the budget the families that are left fall back to those
      // measured.
      if (since(start) > budget || executor.stopping()) break;
      if (side == Side::gpu && (!device || !executor.trusted(p))) continue;
      Trial trial(executor, p);
      const double seconds = time_batches(share, side == Side::cpu ? kCpuBatch : kGpuBatch, [&](int runs) {
        for (int i = 0; i < runs; i++) trial.run(side);
        if (side == Side::gpu) device->finish();
      });
      result.rates.push_back(
          {family_of(p.family).value_or(Family::map), p.work.dtype, side, p.flops, p.bytes, seconds});
      auto& launch = result.launch[static_cast<size_t>(side)];
      if (launch == 0 || seconds < launch) launch = seconds;
      if (side == Side::gpu && back == 0) {
        uint32_t word;
        back = time_batches(share, kGpuBatch, [&](int runs) {
          for (int i = 0; i < runs; i++) {
            trial.run(side);
            device->download(trial.result_memory(0), 0, &word, sizeof word);
          }
        });
        back = std::max(back - seconds, 1e-7);
      }
    }
  }
  // Going back to the CPU waits for what was submitted, whatever the size.
  for (auto& point : result.transfers)
    if (point.direction == Direction::download) point.seconds += back;
  return result;
}

}  // namespace attn::engine
