#include "partition.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace attn {
namespace {

constexpr uint32_t kSource = 0, kSink = 1;  // CPU, GPU
constexpr uint32_t kNone = ~0u;
// Whole picoseconds: the flow is exact and ends. A thousand seconds stand for every longer time.
constexpr int64_t kInfinite = int64_t(1) << 62;
constexpr double kLongest = 1e3;

int64_t picoseconds(double seconds) {
  return static_cast<int64_t>(std::min(std::max(seconds, 0.0), kLongest) * 1e12);
}

}  // namespace

double cost_of(const Block& block, const CostModel& model, std::span<const Side> sides) {
  double total = 0;
  for (size_t i = 0; i < block.nodes.size(); i++) {
    const Work& work = *block.nodes[i].work;
    if (sides[i] == Side::gpu && !work.gpu_possible) return std::numeric_limits<double>::infinity();
    total += model.preferred_seconds(work, sides[i]);
  }
  for_each_copy(block, sides, [&](uint32_t, Direction direction, uint32_t buffer) {
    total += model.transfer(direction, static_cast<double>(block.buffers[buffer].bytes));
  });
  return total;
}

void Partitioner::partition(const Block& block, CostModel& model, std::vector<Side>& out) {
  const size_t n = block.nodes.size();
  out.assign(n, Side::cpu);
  bool possible = false, cheaper = false;
  costs_.resize(2 * n);
  for (size_t i = 0; i < n; i++) {
    const Work& work = *block.nodes[i].work;
    costs_[2 * i] = costs_[2 * i + 1] = 0;
    if (!work.gpu_possible) continue;
    possible = true;
    costs_[2 * i] = model.preferred_seconds(work, Side::cpu);
    costs_[2 * i + 1] = model.preferred_seconds(work, Side::gpu);
    cheaper = cheaper || costs_[2 * i + 1] < costs_[2 * i];
  }
  const auto device_only = [](const BlockBuffer& b) { return b.device && !b.host; };
  const bool graph =
      possible && (cheaper || std::any_of(block.buffers.begin(), block.buffers.end(), device_only));
  if (graph && !remembered(block, model, out)) {
    cuts_++;
    build(block, model);
    max_flow();
    for (size_t i = 0; i < n; i++)
      if (level_[i + 2] != kNone) out[i] = Side::gpu;
    memory_[block_hash_] = out;
  }
  for (size_t i = 0; i < n; i++) model.chose(*block.nodes[i].work, out[i]);
}

// Looks the block up by a hash of all that its cut depends on; leaves the hash in block_hash_.
bool Partitioner::remembered(const Block& block, const CostModel& model, std::vector<Side>& out) {
  constexpr size_t kMost = 256;
  if (memory_version_ != model.version() || memory_.size() >= kMost) memory_.clear();
  memory_version_ = model.version();
  uint64_t h = block.nodes.size();
  const auto mix = [&h](uint64_t x) {
    h = (h ^ x) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  };
  for (const auto& node : block.nodes) {
    const Work& w = *node.work;
    mix(uint64_t(w.cell) << 1 | w.gpu_possible);
    mix(uint64_t(node.inputs) << 32 | node.outputs);
    mix(std::bit_cast<uint64_t>(w.amount()));
    for (uint32_t k = 0; k < node.inputs + node.outputs; k++) mix(block.operands[node.first + k]);
  }
  for (const auto& b : block.buffers) mix(b.bytes << 3 | b.host << 2 | b.device << 1 | b.read);
  block_hash_ = h;
  const auto found = memory_.find(h);
  if (found == memory_.end() || found->second.size() != out.size()) return false;
  out = found->second;
  return true;
}

// ---- The graph

uint32_t Partitioner::add_vertex() {
  head_.push_back(kNone);
  return static_cast<uint32_t>(head_.size() - 1);
}

void Partitioner::add_arc(uint32_t from, uint32_t to, int64_t capacity, int64_t back) {
  arcs_.push_back({to, head_[from], capacity});
  head_[from] = static_cast<uint32_t>(arcs_.size() - 1);
  arcs_.push_back({from, head_[to], back});
  head_[to] = static_cast<uint32_t>(arcs_.size() - 1);
}

// Names the value behind each operand and counts its readers.
void Partitioner::follow(const Block& block) {
  values_.clear();
  value_of_.clear();
  operand_value_.resize(block.operands.size());
  const auto read = [this](uint32_t value, uint32_t reader) {
    Value& v = values_[value];
    v.readers += v.last_reader != reader;  // twice by one instruction is once
    v.last_reader = reader;
    return value;
  };
  const auto fresh = [this](uint32_t maker, uint32_t buffer) {
    values_.push_back({maker, buffer, kNone, 0, kNone, kNone});
    return static_cast<uint32_t>(values_.size() - 1);
  };
  for (uint32_t b = 0; b < block.buffers.size(); b++) {
    const BlockBuffer& buffer = block.buffers[b];
    value_of_.push_back(fresh(buffer.host == buffer.device ? kNone : buffer.host ? kSource : kSink, b));
  }
  for (uint32_t i = 0; i < block.nodes.size(); i++) {
    const BlockNode& node = block.nodes[i];
    uint32_t k = node.first;
    for (; k < node.first + node.inputs; k++) operand_value_[k] = read(value_of_[block.operands[k]], i + 2);
    for (; k < node.first + node.inputs + node.outputs; k++)
      value_of_[block.operands[k]] = operand_value_[k] = fresh(i + 2, block.operands[k]);
  }
  for (uint32_t b = 0; b < block.buffers.size(); b++)
    if (block.buffers[b].read) read(value_of_[b], kSource);
}

void Partitioner::want(Value& value, const Block& block, const CostModel& model, uint32_t reader) {
  const bool done = value.readers == 1 && value.last_reader == kNone;  // named twice by its one reader
  if (value.maker == kNone || done) return;
  const double bytes = static_cast<double>(block.buffers[value.buffer].bytes);
  const bool upload = value.maker != kSink && reader != kSource, download = value.maker != kSource;
  const auto cost = [&](Direction d) { return picoseconds(model.transfer(d, bytes)); };
  if (value.readers == 1) {
    add_arc(value.maker, reader, upload ? cost(Direction::upload) : 0,
            download ? cost(Direction::download) : 0);
    value.last_reader = kNone;
    return;
  }
  if (upload) {
    if (value.up == kNone) {
      value.up = add_vertex();
      add_arc(value.maker, value.up, cost(Direction::upload));
    }
    add_arc(value.up, reader, kInfinite);
  }
  if (download) {
    if (value.down == kNone) {
      value.down = add_vertex();
      add_arc(value.down, value.maker, cost(Direction::download));
    }
    add_arc(reader, value.down, kInfinite);
  }
}

void Partitioner::build(const Block& block, const CostModel& model) {
  arcs_.clear();
  head_.clear();
  add_vertex();
  add_vertex();
  for (size_t i = 0; i < block.nodes.size(); i++) {
    const uint32_t v = add_vertex();
    // Only the difference of the two sides decides; the smaller is paid in any case.
    const int64_t cpu = picoseconds(costs_[2 * i]), gpu = picoseconds(costs_[2 * i + 1]);
    if (!block.nodes[i].work->gpu_possible)
      add_arc(kSource, v, kInfinite);
    else if (gpu > cpu)
      add_arc(kSource, v, gpu - cpu);
    else if (cpu > gpu)
      add_arc(v, kSink, cpu - gpu);
  }
  follow(block);
  for (uint32_t i = 0; i < block.nodes.size(); i++)
    for (uint32_t k = 0; k < block.nodes[i].inputs; k++)
      want(values_[operand_value_[block.nodes[i].first + k]], block, model, i + 2);
  for (uint32_t b = 0; b < block.buffers.size(); b++)
    if (block.buffers[b].read) want(values_[value_of_[b]], block, model, kSource);
}

// ---- Maximum flow (Dinic): shortest augmenting paths, all of one length at a time

// Distances to the sink, as far out as the source. When the source is out of reach the search has seen all
// that can still reach the sink: the GPU's share, in the one of all minimum cuts that leaves most work on the
// CPU.
bool Partitioner::levels() {
  level_.assign(head_.size(), kNone);
  queue_.clear();
  queue_.push_back(kSink);
  level_[kSink] = 0;
  for (size_t next = 0; next < queue_.size(); next++) {
    const uint32_t v = queue_[next];
    for (uint32_t a = head_[v]; a != kNone; a = arcs_[a].next) {
      const uint32_t from = arcs_[a].to;
      if (arcs_[a ^ 1].capacity == 0 || level_[from] != kNone) continue;
      level_[from] = level_[v] + 1;
      if (from == kSource) return true;
      queue_.push_back(from);
    }
  }
  return false;
}

void Partitioner::max_flow() {
  while (levels()) {
    cursor_ = head_;
    path_.clear();  // arcs from the source to v
    uint32_t v = kSource;
    for (;;) {
      if (v == kSink) {
        int64_t most = kInfinite;
        for (const uint32_t a : path_) most = std::min(most, arcs_[a].capacity);
        size_t keep = path_.size();
        for (size_t k = path_.size(); k-- > 0;) {
          Arc& arc = arcs_[path_[k]];
          if (arc.capacity != kInfinite) {
            arc.capacity -= most;
            if (arc.capacity == 0) keep = k;
          }
          Arc& back = arcs_[path_[k] ^ 1];
          if (back.capacity != kInfinite) back.capacity += most;
        }
        path_.resize(keep);  // go on from the first arc that is now full
        v = keep == 0 ? kSource : arcs_[path_.back()].to;
        continue;
      }
      uint32_t& a = cursor_[v];
      while (a != kNone && (arcs_[a].capacity == 0 || level_[arcs_[a].to] != level_[v] - 1))
        a = arcs_[a].next;
      if (a != kNone) {
        path_.push_back(a);
        v = arcs_[a].to;
      } else if (v == kSource) {
        break;
      } else {  // a dead end: back up, and past the arc that led here
        path_.pop_back();
        v = path_.empty() ? kSource : arcs_[path_.back()].to;
        cursor_[v] = arcs_[cursor_[v]].next;
      }
    }
  }
}

}  // namespace attn
