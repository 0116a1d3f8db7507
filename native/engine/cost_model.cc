#include "cost_model.h"

#include <algorithm>
#include <cmath>

namespace attn {
namespace {

constexpr const char* kFamilyNames[kFamilies] = {"map",  "special", "reduce", "move",
                                                 "scan", "gemm",    "random", "attention"};

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

void CostModel::Curve::fit(std::vector<Point> measured, double overhead) {
  points.clear();
  std::sort(measured.begin(), measured.end(), [](const Point& a, const Point& b) {
    return a.work != b.work ? a.work < b.work : a.seconds < b.seconds;
  });
  // Measured twice: the faster run had less of the machine's noise in it.
  const auto same = [](const Point& a, const Point& b) { return a.work == b.work; };
  measured.erase(std::unique(measured.begin(), measured.end(), same), measured.end());
  for (const auto& [work, seconds] : measured) {
    // What is nearly all overhead says nothing of the rate, unless it is all there is.
    const double least = 0.1 * seconds, beyond = seconds - overhead;
    if (beyond >= least || &work == &measured.back().work)
      points.push_back({std::log(work), std::log(std::max(beyond, least))});
  }
}

double CostModel::Curve::at(double work) const {
  if (points.empty() || work <= 0) return 0;
  const double x = std::log(work);
  const Point &first = points.front(), &last = points.back();
  if (x <= first.work) return std::exp(first.seconds + (x - first.work));
  if (x >= last.work) return std::exp(last.seconds + (x - last.work));
  size_t hi = 1;
  while (points[hi].work < x) hi++;
  const Point &p = points[hi - 1], &q = points[hi];
  return std::exp(p.seconds + (q.seconds - p.seconds) * (x - p.work) / (q.work - p.work));
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
  for (auto& curve : transfers_) curve.fit({{1 << 20, (1 << 20) / (software_device_ ? 8e9 : 20e9)}}, 0);

  // CPU / Vulkan, element-wise, as seeds/001 measured them: 512x512 4.57, 1024x1024 1.71, 2048x2048 slower.
  // The sizes are those of float32 with two inputs (12 bytes an element), the last of one input (8), so that
  // every element-wise op of 2048x2048 and above stays on the CPU. Below 512x512 the ratio holds until the
  // launch outweighs it.
  constexpr double n512 = 512.0 * 512, n1024 = 4 * n512, n2048 = 16 * n512;
  const struct {
    double bytes, speedup;
  } points[] = {{12 * n512, 4.57}, {12 * n1024, 1.71}, {8 * n2048, 0.91}};
  // Bytes per second of one CPU, by family; those of gemm and attention are flops. Only their ratios matter
  // to the choice.
  constexpr double rates[kFamilies] = {10e9, 3e9, 8e9, 4e9, 4e9, 100e9, 1e9, 50e9};
  for (size_t f = 0; f < kFamilies; f++) {
    std::vector<Point> cpu, gpu;
    for (const auto& [bytes, speedup] : points) {
      const double seconds = bytes / rates[f];
      cpu.push_back({bytes, seconds});
      gpu.push_back({bytes, software_device_                       ? 4 * seconds
                            : counts_flops(static_cast<Family>(f)) ? 2 * seconds
                                                                   : seconds / speedup});
    }
    (*standard_)[at(Side::cpu)][f][at(DType::f32)].fit(cpu, launch_[at(Side::cpu)]);
    (*standard_)[at(Side::gpu)][f][at(DType::f32)].fit(gpu, launch_[at(Side::gpu)]);
  }
  epoch_++;
  version_++;
}

void CostModel::calibrate(const Calibration& given) {
  Calibration c;  // what of it can be true
  for (size_t s = 0; s < 2; s++) c.launch[s] = sane(given.launch[s]);
  for (const auto& p : given.rates)
    if (positive(p.seconds) && positive(counts_flops(p.family) ? p.flops : p.bytes)) c.rates.push_back(p);
  for (const auto& p : given.transfers)
    if (positive(p.seconds) && positive(p.bytes)) c.transfers.push_back(p);

  defaults();
  for (size_t s = 0; s < 2; s++)
    if (c.launch[s] > 0) launch_[s] = c.launch[s];
  // An op that took less than the launch says that the launch takes less.
  for (const auto& p : c.rates) launch_[at(p.side)] = std::min(launch_[at(p.side)], p.seconds);

  std::array<std::array<std::array<std::vector<Point>, kDTypes>, kFamilies>, 2> rates;
  for (const auto& p : c.rates)
    rates[at(p.side)][at(p.family)][at(p.dtype)].push_back(
        {counts_flops(p.family) ? p.flops : p.bytes, p.seconds});
  for (size_t s = 0; s < 2; s++)
    for (size_t f = 0; f < kFamilies; f++)
      for (size_t t = 0; t < kDTypes; t++) (*measured_)[s][f][t].fit(std::move(rates[s][f][t]), launch_[s]);

  // The smallest copies are nearly all latency.
  std::array<std::vector<Point>, 2> copies;
  for (const auto& p : c.transfers) copies[at(p.direction)].push_back({p.bytes, p.seconds});
  for (size_t d = 0; d < 2; d++) {
    if (copies[d].empty()) continue;
    double least = copies[d][0].seconds;
    for (const auto& p : copies[d]) least = std::min(least, p.seconds);
    latency_[d] = copies[d].size() > 1 ? least : std::min(latency_[d], least / 2);
    transfers_[d].fit(std::move(copies[d]), latency_[d]);
  }
  for (auto& cell : cells_) cell.last = -1;
  calibrated_ = !c.rates.empty();
  calibration_ = std::move(c);
}

// ---- Estimates

const CostModel::Curve& CostModel::curve(Family family, DType dtype, Side side, Source* source) const {
  const auto& measured = (*measured_)[at(side)];
  if (source) *source = Source::calibrated;
  for (const Family f : {family, Family::map}) {
    if (f != family && counts_flops(family)) break;
    for (const DType t : {dtype, DType::f32})
      if (!measured[at(f)][at(t)].points.empty()) return measured[at(f)][at(t)];
  }
  if (source) *source = Source::standard;
  return (*standard_)[at(side)][at(family)][at(DType::f32)];
}

double CostModel::curve_seconds(Family family, DType dtype, Side side, double flops, double bytes) const {
  if (!counts_flops(family)) return launch_[at(side)] + curve(family, dtype, side).at(bytes);
  Source source;
  double t = curve(family, dtype, side, &source).at(flops);
  // The defaults keep products on the CPU whatever their shape; a measured rate is bounded by bandwidth too.
  if (source != Source::standard) t = std::max(t, curve(Family::map, dtype, side).at(bytes));
  return launch_[at(side)] + t;
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
  return latency_[at(d)] + transfers_[at(d)].at(bytes);
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
