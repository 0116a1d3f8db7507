// What an op will cost on either side of the machine: the figures behind every routing decision.
//
//   t(op, side) = launch(side) + curve(family, dtype, side)(work)        work = flops for gemm, attention
//   t(gemm)     = launch + max(the curve, curve(map)(bytes))             a thin product is bound by bandwidth
//   t(transfer) = latency + curve(direction)(bytes)
//
// A curve is what measured points (work, seconds) take beyond the launch, interpolated in log-log; outside
// its ends the rate of the end point holds. Where nothing was measured for (family, dtype): the same family
// in float32, then 'map' by bytes (not for gemm, which would be flattered), then the defaults below. What
// really ran then corrects the curve: per (op, dtype, log2 work, log2 intensity, side) a cell keeps "work w
// took s seconds", and the estimate becomes s · t(work) / t(w), so that a cell serves its whole bucket.
//
// How asynchronous execution is modelled. One executor thread runs a block in order. A CPU op occupies that
// thread for its whole time; a GPU op is recorded there (about 1 µs, part of its launch) and runs later on
// one in-order queue. The model adds all times up, on whichever side they fall: exact for a chain of
// dependent ops, pessimistic where independent ops could overlap on both sides, which we do not schedule for.
// Hence
//   - launch(gpu) is the steady cost of one more tiny dispatch in a long batch (with its barrier), not that
//     of submit + wait;
//   - going GPU -> CPU costs submit + wait for the queue: measured as the latency of a small download, and so
//     charged once per buffer that crosses (two buffers crossing at one point are charged twice: work is
//     kept together);
//   - going CPU -> GPU costs the copy and its share of the next submit: the latency of a small upload.
//     Nobody waits.
//   - a block that stays on the GPU and is not read pays no wait at all.
//
// Before calibration the thresholds measured for this project's forerunner serve, written as points of the
// same model (cost_model.cc): element-wise work 4.57x faster on Vulkan at 512x512, 1.71x at 1024x1024, slower
// at 2048x2048, matmul always on the CPU; on a software device (type 'cpu') everything is slower.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "types.h"

namespace attn {

enum class Side : uint8_t { cpu = 0, gpu = 1 };
inline constexpr const char* name_of(Side s) { return s == Side::cpu ? "cpu" : "gpu"; }

// Mirrors Family in src/runtime/binding.ts.
enum class Family : uint8_t { map, special, reduce, move, scan, gemm, random, attention };
inline constexpr size_t kFamilies = 8, kDTypes = 6;
// Bound by arithmetic: measured in flops, not bytes.
inline constexpr bool counts_flops(Family f) { return f == Family::gemm || f == Family::attention; }
const char* name_of(Family);
std::optional<Family> family_of(std::string_view name);

enum class Direction : uint8_t { upload = 0, download = 1 };
inline constexpr const char* name_of(Direction d) { return d == Direction::upload ? "upload" : "download"; }

// Where an estimate comes from, weakest first.
enum class Source : uint8_t { standard = 0, calibrated = 1, observed = 2 };
inline constexpr const char* name_of(Source s) {
  return s == Source::standard ? "default" : s == Source::calibrated ? "calibrated" : "observed";
}

// One measurement of calibration; seconds are those of one op in a long batch, launch included.
struct RatePoint {
  Family family;
  DType dtype;
  Side side;
  double flops, bytes, seconds;
};
// One measured copy; a download includes the submit and the wait.
struct TransferPoint {
  Direction direction;
  double bytes, seconds;
};
struct Calibration {
  std::array<double, 2> launch{0, 0};  // seconds of the smallest op, by side; 0: not measured
  std::vector<RatePoint> rates;
  std::vector<TransferPoint> transfers;
};

// "On `side`, `op` with about this much work took `seconds`": what is kept of what ran.
struct Observation {
  std::string op;
  Family family;
  DType dtype;
  Side side;
  double flops, bytes, seconds;
  uint32_t count;
};

// What a prepared op asks of the model: made once by CostModel::work, then read at every run, by that model
// only.
struct Work {
  double flops = 0, bytes = 0;
  uint32_t cell = 0;  // (op, family, dtype, log2 work, log2 intensity), interned
  Family family = Family::map;
  DType dtype = DType::f32;
  bool gpu_possible = false;

  double amount() const { return counts_flops(family) ? flops : bytes; }

 private:
  friend class CostModel;
  mutable uint32_t epoch_ = 0;  // of the curves that these were read from
  mutable double curve_[2] = {};
};

// Not thread-safe: it belongs to the executor thread.
class CostModel {
 public:
  // How much better the other side must be before a cell changes sides.
  static constexpr double kHysteresis = 1.15;

  // The defaults of a machine whose Vulkan device is, or is not, software (caps.type == "cpu").
  explicit CostModel(bool software_device = true);
  void set_software_device(bool);

  // Interns (op, family, dtype): one key for each, the same on every call.
  int key(std::string_view op, Family, DType);
  // flops and bytes must be finite and not negative (else taken as 0).
  Work work(int key, double flops, double bytes, bool gpu_possible);

  // Replaces all points and launch costs; forgets which side was chosen last, keeps what was observed.
  // Points that are not finite and positive are left out. Families missing here fall back as told above.
  void calibrate(const Calibration&);
  bool calibrated() const { return calibrated_; }
  const Calibration& calibration() const { return calibration_; }

  double seconds(const Work&, Side) const;  // ignores gpu_possible
  Source source(const Work&, Side) const;
  double transfer(Direction, double bytes) const;  // of one buffer
  double launch(Side side) const { return launch_[static_cast<size_t>(side)]; }

  // What the partitioner minimises: seconds(), less 15 % on the side that this cell ran on last.
  double preferred_seconds(const Work&, Side) const;
  void chose(const Work&, Side);
  std::optional<Side> last_choice(const Work&) const;

  // `seconds` were measured. Held within 4x of the estimate; a faster run counts by half, a slower one by a
  // tenth until it has been slower three times in a row (4^0.1 < 1.15: one page-fault spike cannot flip a
  // route).
  void observe(const Work&, Side, double seconds);
  std::vector<Observation> observations() const;
  // What observations() gave in an earlier process; entries that are not finite and positive are left out.
  void restore(std::span<const Observation>);

  // Rises when any estimate may have moved by more than 5 %: a remembered partition is stale.
  uint32_t version() const { return version_; }

 private:
  struct Point {
    double work, seconds;
  };
  struct Curve {  // seconds beyond `overhead`: points sorted by work, in natural logarithms
    std::vector<Point> points;
    double at(double work) const;
    void fit(std::vector<Point> measured, double overhead);
  };
  struct Seen {  // one side of a cell: work of (flops, bytes) takes `seconds`
    double flops = 0, bytes = 0, seconds = 0;
    double announced = 0;  // seconds when version_ last rose for it
    uint32_t count = 0, slow_in_a_row = 0;
    mutable uint32_t epoch = 0;
    mutable double scale = 1;  // seconds / curve(work), for the curves of `epoch`
  };
  struct Cell {
    int key;
    int8_t last = -1;  // Side, or -1
    Seen seen[2];
  };
  struct Key {
    std::string op;
    Family family;
    DType dtype;
  };
  using Curves = std::array<std::array<std::array<Curve, kDTypes>, kFamilies>, 2>;

  void defaults();
  const Curve& curve(Family, DType, Side, Source* = nullptr) const;
  double curve_seconds(Family, DType, Side, double flops, double bytes) const;
  double curve_seconds(const Work&, Side) const;
  double scale(const Key&, const Seen&, Side) const;
  uint32_t cell(int key, double flops, double bytes);
  void announce(Seen&);

  bool software_device_, calibrated_ = false;
  Calibration calibration_;
  std::array<double, 2> launch_{};
  std::array<double, 2> latency_{};  // by Direction
  std::unique_ptr<Curves> measured_, standard_;
  std::array<Curve, 2> transfers_;
  std::vector<Key> keys_;
  std::vector<Cell> cells_;
  std::unordered_map<std::string, int> key_index_;
  std::unordered_map<uint64_t, uint32_t> cell_index_;
  uint32_t epoch_ = 1, version_ = 1;
};

}  // namespace attn
