#include "cost_model.h"

#include <algorithm>
#include <cmath>

namespace attn {
namespace {

constexpr const char* kFamilyNames[kFamilies] = {"map",  "special", "reduce", "move",
                                                 "scan", "gemm",    "random"};

size_t at(Family f) { return static_cast<size_t>(f); }
size_t at(DType t) { return static_cast<size_t>(t); }
size_t at(Side s) { return static_cast<size_t>(s); }
size_t at(Direction d) { return static_cast<size_t>(d); }

bool positive(double x) { return std::isfinite(x) && x > 0; }
double sane(double x) { return positive(x) ? x : 0; }

// ⌊log2 x⌋ + 1, 0 below 1.
uint32_t bucket(double x) { return x < 1 ? 0 : static_cast<uint32_t>(std::ilogb(x)) + 1; }

}  // namespace

const char* name_of(Family f) { return kFamilyNames[at(f)]; }

std::optional<Family> family_of(std::string_view name) {
  for (size_t f = 0; f < kFamilies; f++)
    if (name == kFamilyNames[f]) return static_cast<Family>(f);
  return {};
}

// ---- Curves

void CostModel::Curve::add(double work, double seconds) {
  const std::pair<double, double> point{std::log(work), std::log(seconds)};
  auto place = std::lower_bound(points.begin(), points.end(), point.first,
                                [](const auto& p, double x) { return p.first < x; });
  // Measured twice: the faster run had less of the machine's noise in it.
  if (place != points.end() && place->first == point.first)
    place->second = std::min(place->second, point.second);
  else
    points.insert(place, point);
}

double CostModel::Curve::at(double work) const {
  if (points.empty() || work <= 0) return 0;
  const double x = std::log(work);
  const auto& first = points.front();
  const auto& last = points.back();
  if (x <= first.first) return std::exp(first.second + (x - first.first));
  if (x >= last.first) return std::exp(last.second + (x - last.first));
  size_t hi = 1;
  while (points[hi].first < x) hi++;
  const auto& [x0, y0] = points[hi - 1];
  const auto& [x1, y1] = points[hi];
  return std::exp(y0 + (y1 - y0) * (x - x0) / (x1 - x0));
}

// ---- Before calibration

CostModel::CostModel(bool software_device)
    : software_device_(software_device),
      measured_(std::make_unique<Curves>()),
      standard_(std::make_unique<Curves>()) {
  defaults();
}

void CostModel::set_software_device(bool software) {
  if (software == software_device_) return;
  software_device_ = software;
  defaults();
  if (calibrated_) calibrate(Calibration(calibration_));
}

void CostModel::defaults() {
  *standard_ = {};
  launch_ = {0.2e-6, software_device_ ? 20e-6 : 5e-6};
  latency_ = {10e-6, 30e-6};
  transfers_ = {};
  for (auto& curve : transfers_) curve.add(1 << 20, (1 << 20) / (software_device_ ? 8e9 : 20e9));

  // CPU / Vulkan, element-wise, as seeds/001 measured them: 512x512 4.57, 1024x1024 1.71, 2048x2048 slower.
  // The sizes are those of float32 with two inputs (12 bytes an element), the last of one input (8), so that
  // every element-wise op of 2048x2048 and above stays on the CPU. Below 512x512 the ratio holds until the
  // launch outweighs it.
  constexpr double n512 = 512.0 * 512, n1024 = 4 * n512, n2048 = 16 * n512;
  const struct {
    double bytes, speedup;
  } points[] = {{12 * n512, 4.57}, {12 * n1024, 1.71}, {8 * n2048, 0.91}};
  // Bytes per second of one CPU, by family; gemm is flops per second. Only their ratios matter to the choice.
  constexpr double rates[kFamilies] = {10e9, 3e9, 8e9, 4e9, 4e9, 100e9, 1e9};
  for (size_t f = 0; f < kFamilies; f++) {
    Curve& cpu = (*standard_)[at(Side::cpu)][f][at(DType::f32)];
    Curve& gpu = (*standard_)[at(Side::gpu)][f][at(DType::f32)];
    for (const auto& [bytes, speedup] : points) {
      const double seconds = bytes / rates[f];
      cpu.add(bytes, seconds);
      gpu.add(bytes, software_device_        ? 4 * seconds
                     : f == at(Family::gemm) ? 2 * seconds
                                             : seconds / speedup);
    }
  }
  epoch_++;
  version_++;
}

void CostModel::calibrate(const Calibration& c) {
  defaults();
  *measured_ = {};
  calibration_ = {};
  for (size_t s = 0; s < 2; s++)
    if (positive(c.launch[s])) calibration_.launch[s] = launch_[s] = c.launch[s];
  for (const auto& p : c.rates) {
    if (!positive(p.seconds) || !positive(p.family == Family::gemm ? p.flops : p.bytes)) continue;
    (*measured_)[at(p.side)][at(p.family)][at(p.dtype)].add(p.family == Family::gemm ? p.flops : p.bytes,
                                                            p.seconds);
    calibration_.rates.push_back(p);
  }
  Curve copies[2];
  for (const auto& p : c.transfers) {
    if (!positive(p.seconds) || !positive(p.bytes)) continue;
    copies[at(p.direction)].add(p.bytes, p.seconds);
    calibration_.transfers.push_back(p);
  }
  // The smallest copy measured is nearly all latency: no copy takes less.
  for (size_t d = 0; d < 2; d++) {
    if (copies[d].points.empty()) continue;
    latency_[d] = std::exp(copies[d].points.front().second);
    transfers_[d] = copies[d];
  }
  for (auto& cell : cells_) cell.last = -1;
  calibrated_ = !calibration_.rates.empty();
}

// ---- Estimates

const CostModel::Curve& CostModel::curve(Family family, DType dtype, Side side, Source* source) const {
  const auto& measured = (*measured_)[at(side)];
  if (source) *source = Source::calibrated;
  for (const Family f : {family, Family::map}) {
    if (f != family && family == Family::gemm) break;
    for (const DType t : {dtype, DType::f32})
      if (!measured[at(f)][at(t)].points.empty()) return measured[at(f)][at(t)];
  }
  if (source) *source = Source::standard;
  return (*standard_)[at(side)][at(family)][at(DType::f32)];
}

double CostModel::curve_seconds(Family family, DType dtype, Side side, double flops, double bytes) const {
  double t = launch_[at(side)];
  if (family != Family::gemm) return std::max(t, curve(family, dtype, side).at(bytes));
  Source source;
  t = std::max(t, curve(family, dtype, side, &source).at(flops));
  // The defaults keep products on the CPU whatever their shape; a measured rate is bounded by bandwidth too.
  return source == Source::standard ? t : std::max(t, curve(Family::map, dtype, side).at(bytes));
}

double CostModel::curve_seconds(const Work& w, Side side) const {
  if (w.epoch_ != epoch_) {
    for (const Side s : {Side::cpu, Side::gpu})
      w.curve_[at(s)] = curve_seconds(w.family, w.dtype, s, w.flops, w.bytes);
    w.epoch_ = epoch_;
  }
  return w.curve_[at(side)];
}

double CostModel::scale(const Key& key, const Seen& seen, Side side) const {
  if (seen.epoch != epoch_) {
    seen.scale = seen.seconds / curve_seconds(key.family, key.dtype, side, seen.flops, seen.bytes);
    seen.epoch = epoch_;
  }
  return seen.scale;
}

double CostModel::seconds(const Work& w, Side side) const {
  const double t = curve_seconds(w, side);
  const Cell& cell = cells_[w.cell];
  const Seen& seen = cell.seen[at(side)];
  return seen.count == 0 ? t : t * scale(keys_[static_cast<size_t>(cell.key)], seen, side);
}

double CostModel::preferred_seconds(const Work& w, Side side) const {
  const double t = seconds(w, side);
  return cells_[w.cell].last == static_cast<int8_t>(side) ? t / kHysteresis : t;
}

Source CostModel::source(const Work& w, Side side) const {
  if (cells_[w.cell].seen[at(side)].count > 0) return Source::observed;
  Source source;
  curve(w.family, w.dtype, side, &source);
  return source;
}

double CostModel::transfer(Direction d, double bytes) const {
  return std::max(latency_[at(d)], transfers_[at(d)].at(bytes));
}

// ---- Keys and cells

int CostModel::key(std::string_view op, Family family, DType dtype) {
  std::string name(op);
  name += '\0';
  name += static_cast<char>('a' + at(family));
  name += static_cast<char>('a' + at(dtype));
  const auto [entry, fresh] = key_index_.try_emplace(std::move(name), static_cast<int>(keys_.size()));
  if (fresh) keys_.push_back({std::string(op), family, dtype});
  return entry->second;
}

uint32_t CostModel::cell(int key, double flops, double bytes) {
  const double amount = keys_[static_cast<size_t>(key)].family == Family::gemm ? flops : bytes;
  // Thin and square products of equal flops run at different rates: intensity tells them apart, in steps of
  // 2x.
  const uint32_t intensity = bytes > 0 ? bucket(16 * flops / bytes) : 0;
  const uint64_t id = uint64_t(key) << 32 | uint64_t(bucket(amount)) << 16 | intensity;
  const auto [entry, fresh] = cell_index_.try_emplace(id, static_cast<uint32_t>(cells_.size()));
  if (fresh) {
    cells_.emplace_back();
    cells_.back().key = key;
  }
  return entry->second;
}

Work CostModel::work(int key, double flops, double bytes, bool gpu_possible) {
  const Key& k = keys_.at(static_cast<size_t>(key));
  Work w;
  w.flops = sane(flops);
  w.bytes = sane(bytes);
  w.cell = cell(key, w.flops, w.bytes);
  w.family = k.family;
  w.dtype = k.dtype;
  w.gpu_possible = gpu_possible;
  return w;
}

void CostModel::chose(const Work& w, Side side) { cells_[w.cell].last = static_cast<int8_t>(side); }

std::optional<Side> CostModel::last_choice(const Work& w) const {
  const int8_t last = cells_[w.cell].last;
  return last < 0 ? std::nullopt : std::optional(static_cast<Side>(last));
}

// ---- What ran

void CostModel::announce(Seen& seen) {
  constexpr double step = 1.05;
  if (seen.seconds < seen.announced * step && seen.seconds * step > seen.announced) return;
  seen.announced = seen.seconds;
  version_++;
}

void CostModel::observe(const Work& w, Side side, double measured) {
  if (!positive(measured)) return;
  const double estimate = seconds(w, side);
  Seen& seen = cells_[w.cell].seen[at(side)];
  const double got = std::clamp(measured, estimate / 4, estimate * 4);
  seen.slow_in_a_row = got > estimate * 1.05 ? seen.slow_in_a_row + 1 : 0;
  const double weight = got <= estimate || seen.slow_in_a_row >= 3 ? 0.5 : 0.1;
  if (seen.count == 0) seen.announced = estimate;
  seen.flops = w.flops;
  seen.bytes = w.bytes;
  seen.seconds = estimate * std::pow(got / estimate, weight);
  seen.scale = seen.seconds / curve_seconds(w, side);
  seen.epoch = epoch_;
  if (seen.count != ~0u) seen.count++;
  announce(seen);
}

std::vector<Observation> CostModel::observations() const {
  std::vector<Observation> all;
  for (const auto& cell : cells_) {
    const Key& k = keys_[static_cast<size_t>(cell.key)];
    for (const Side s : {Side::cpu, Side::gpu}) {
      const Seen& seen = cell.seen[at(s)];
      if (seen.count > 0)
        all.push_back({k.op, k.family, k.dtype, s, seen.flops, seen.bytes, seen.seconds, seen.count});
    }
  }
  return all;
}

void CostModel::restore(std::span<const Observation> entries) {
  for (const auto& o : entries) {
    const bool finite = std::isfinite(o.flops) && o.flops >= 0 && std::isfinite(o.bytes) && o.bytes >= 0;
    if (!finite || !positive(o.seconds) || o.count == 0) continue;
    Seen& seen = cells_[cell(key(o.op, o.family, o.dtype), o.flops, o.bytes)].seen[at(o.side)];
    seen = {};
    seen.flops = o.flops;
    seen.bytes = o.bytes;
    seen.seconds = seen.announced = o.seconds;
    seen.count = o.count;
  }
  version_++;
}

}  // namespace attn
