#include "router.h"

#include "../vulkan/shaders.h"

namespace attn::engine {
namespace {

RouteKey key_of(const vulkan::Caps* caps, const std::string& version, int threads) {
  RouteKey key;
  key.kernels = kernel_hash(version);
  key.cpu = cpu_model();
  key.threads = static_cast<unsigned>(threads);
  if (caps) {
    key.device_uuid = caps->uuid;
    key.driver = caps->driver_name + " " + caps->driver_info + " " + std::to_string(caps->driver_version);
  }
  return key;
}

DType dtype_of(const std::string& name) {
  for (int t = 0; t < 6; t++)
    if (name == name_of(static_cast<DType>(t))) return static_cast<DType>(t);
  return DType::f32;
}

}  // namespace

std::string kernel_hash(const std::string& version) {
  KernelHash hash;
  hash.add(version);
  for (const auto& shader : vulkan::shaders()) hash.add(shader.name).add(shader.words);
  for (const auto& name : cpu::kernel_names()) hash.add(name);
  return hash.hex();
}

Router::Router(const vulkan::Caps* caps, const std::string& cache_folder, const std::string& version,
               int threads, std::function<void(const std::string&)> warn)
    : caps_(caps),
      warn_(std::move(warn)),
      model_(!caps || caps->type == "cpu"),
      store_(caps ? cache_folder : std::string(), key_of(caps, version, threads)) {
  RouteLoad load = store_.load();
  if (!load.warning.empty() && warn_) warn_(load.warning);
  data_.version = version;
  if (!load.data) return;
  data_ = std::move(*load.data);
  if (!data_.calibration.rates.empty()) model_.calibrate(data_.calibration);
  model_.restore(data_.observed);
}

void Router::add(Prepared& p) {
  const Family family = family_of(p.family).value_or(Family::map);
  p.work = model_.work(model_.key(p.op, family, dtype_of(p.dtype)), p.flops, p.bytes,
                       caps_ && p.gpu_reason.empty());
}

void Router::calibrate(const Calibration& calibration) {
  model_.calibrate(calibration);
  data_.calibration = model_.calibration();  // less what cannot be true
  dirty_ = true;
  save();
}

std::optional<std::string> Router::probe_result(const std::string& variant) const {
  const auto found = data_.probes.find(variant);
  if (found == data_.probes.end()) return std::nullopt;
  return found->second;
}

void Router::record_probe(const std::string& variant, const std::string& failure) {
  data_.probes[variant] = failure;
  dirty_ = true;
}

void Router::save() {
  if (!dirty_ || !caps_) return;
  dirty_ = false;
  data_.observed = model_.observations();
  data_.created.clear();
  const std::string warning = store_.save(data_);
  if (!warning.empty() && warn_) warn_(warning);
}

// Numbers the buffers of the block: an id that is freed and named again is another buffer.
void Router::collect(const Program& program, Residency& residency) {
  nodes_.clear();
  operands_.clear();
  buffers_.clear();
  node_instruction_.clear();
  local_.assign(local_.size(), -1);
  const auto slot = [&](int32_t id) -> int32_t& {
    if (static_cast<size_t>(id) >= local_.size()) local_.resize(id + 64, -1);
    return local_[id];
  };
  const auto known = [&](int32_t id) {
    int32_t& at = slot(id);
    if (at < 0) {
      const Buffer& b = residency.at(id);
      at = static_cast<int32_t>(buffers_.size());
      buffers_.push_back({.bytes = b.bytes, .host = b.on_host, .device = b.on_device});
    }
    return static_cast<uint32_t>(at);
  };
  const auto fresh = [&](int32_t id, uint64_t bytes, bool host) {
    slot(id) = static_cast<int32_t>(buffers_.size());
    buffers_.push_back({.bytes = bytes, .host = host});
    return static_cast<uint32_t>(buffers_.size() - 1);
  };
  for (size_t i = 0; i < program.instructions.size(); i++) {
    const Instruction& in = program.instructions[i];
    if (in.kind == kAdopt) {
      fresh(in.operands[0], 0, true);
      continue;
    }
    if (in.kind == kView || in.kind == kHeal) continue;
    if (in.kind == kRead) {
      buffers_[known(in.holders[0])].read = true;
      continue;
    }
    Prepared& p = *in.prepared;
    const auto first = static_cast<uint32_t>(operands_.size());
    for (size_t k = 0; k < p.inputs.size(); k++) {
      operands_.push_back(known(in.holders[k]));
      auto& bytes = buffers_[operands_.back()].bytes;
      bytes = std::max(bytes, p.inputs[k].bytes);
    }
    for (size_t k = 0; k < p.outputs.size(); k++)
      operands_.push_back(fresh(in.operands[p.inputs.size() + k], p.outputs[k].bytes, false));
    for (const uint32_t k : p.updates) operands_.push_back(operands_[first + k]);  // read, and written
    nodes_.push_back({&p.work, first, static_cast<uint32_t>(p.inputs.size()),
                      static_cast<uint32_t>(p.outputs.size() + p.updates.size())});
    node_instruction_.push_back(static_cast<uint32_t>(i));
  }
}

void Router::choose(const Program& program, Residency& residency, Route route, std::vector<Side>& sides) {
  sides.assign(program.instructions.size(), Side::cpu);
  const bool forced_cpu = !caps_ || route == Route::cpu;
  if (forced_cpu && !explaining_) return;
  collect(program, residency);
  const Block block{nodes_, operands_, buffers_};
  if (route == Route::automatic && caps_) {
    partitioner_.partition(block, model_, chosen_);
  } else {
    chosen_.assign(nodes_.size(), Side::cpu);
    if (!forced_cpu)
      for (size_t i = 0; i < nodes_.size(); i++)
        if (nodes_[i].work->gpu_possible) chosen_[i] = Side::gpu;
  }
  for (size_t i = 0; i < nodes_.size(); i++) sides[node_instruction_[i]] = chosen_[i];
  if (!explaining_) return;
  std::vector<Label> labels;
  for (const uint32_t i : node_instruction_) {
    const Prepared& p = *program.instructions[i].prepared;
    labels.push_back({p.op, p.problem, p.gpu_reason});
  }
  const auto rows = attn::explain(block, model_, chosen_, labels,
                                  route == Route::automatic ? ""
                                  : route == Route::cpu     ? "cpu"
                                                            : "gpu");
  explained_.insert(explained_.end(), rows.begin(), rows.end());
}

}  // namespace attn::engine
