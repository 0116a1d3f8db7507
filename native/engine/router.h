// The router as the executor uses it: cost model, partition and store in one, fed with programs and timings.
// Lives on the executor thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "explain.h"
#include "partition.h"
#include "program.h"
#include "residency.h"
#include "route_store.h"

namespace attn::engine {

enum class Route : uint8_t { automatic, cpu, gpu };

class Router {
 public:
  // `caps` null: no device, everything on the CPU, nothing stored.
  Router(const vulkan::Caps* caps, const std::string& cache_folder, const std::string& version, int threads,
         std::function<void(const std::string&)> warn);
  ~Router() { save(); }

  // Called once for each prepared op.
  void add(Prepared&);

  // One side for each instruction; adopt and read count as the CPU.
  void choose(const Program&, Residency&, Route, std::vector<Side>& sides);

  // Sampled timings: the first run of an op on a side is cold and never counts.
  bool wants_timing(Prepared& p, Side side) {
    const uint32_t run = p.runs[static_cast<size_t>(side)]++;
    return run > 0 && (run < 8 || run % 64 == 0);
  }
  void observe(const Prepared& p, Side side, double seconds) {
    model_.observe(p.work, side, seconds);
    dirty_ = true;
  }

  bool calibrated() const { return model_.calibrated(); }
  void calibrate(const Calibration&);

  // Self-test results by GPU variant: "" passed, text failed, nullopt not tested.
  std::optional<std::string> probe_result(const std::string& variant) const;
  void record_probe(const std::string& variant, const std::string& failure);
  const std::map<std::string, std::string>& probes() const { return data_.probes; }

  CostModel& model() { return model_; }
  const std::string& path() const { return store_.path(); }
  void save();

  // While on, choose() appends a row for each op.
  void explain(bool on) {
    explaining_ = on;
    explained_.clear();
  }
  const std::vector<Explanation>& explained() const { return explained_; }

 private:
  void collect(const Program&, Residency&);

  const vulkan::Caps* caps_;
  std::function<void(const std::string&)> warn_;
  CostModel model_;
  Partitioner partitioner_;
  RouteStore store_;
  RouteData data_;
  bool dirty_ = false, explaining_ = false;
  std::vector<Explanation> explained_;

  // The block in the partitioner's terms; kept between calls.
  std::vector<BlockNode> nodes_;
  std::vector<uint32_t> operands_, node_instruction_;
  std::vector<BlockBuffer> buffers_;
  std::vector<int32_t> local_;  // buffer id -> index in buffers_, -1 unseen
  std::vector<Side> chosen_;
};

// Hash of every kernel of this build: package version, SPIR-V words and CPU kernel names.
std::string kernel_hash(const std::string& version);

}  // namespace attn::engine
