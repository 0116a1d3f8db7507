#include "partition.h"

#include <algorithm>
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
  if (possible && (cheaper || std::any_of(block.buffers.begin(), block.buffers.end(), device_only))) {
    cuts_++;
    build(block, model);
    max_flow();
    mark_gpu();
    for (size_t i = 0; i < n; i++)
      if (level_[i + 2] != kNone) out[i] = Side::gpu;
  }
  for (size_t i = 0; i < n; i++) model.chose(*block.nodes[i].work, out[i]);
}

// ---- The graph

uint32_t Partitioner::add_vertex() {
  head_.push_back(kNone);
  return static_cast<uint32_t>(head_.size() - 1);
}

void Partitioner::add_arc(uint32_t from, uint32_t to, int64_t capacity) {
  arcs_.push_back({to, head_[from], capacity});
  head_[from] = static_cast<uint32_t>(arcs_.size() - 1);
  arcs_.push_back({from, head_[to], 0});
  head_[to] = static_cast<uint32_t>(arcs_.size() - 1);
}

void Partitioner::want(Value& value, const BlockBuffer& buffer, const CostModel& model, uint32_t reader) {
  if (value.maker == kNone || value.maker == reader) return;
  const double bytes = static_cast<double>(buffer.bytes);
  if (value.maker != kSink && reader != kSource) {
    if (value.up == kNone) {
      value.up = add_vertex();
      add_arc(value.maker, value.up, picoseconds(model.transfer(Direction::upload, bytes)));
    }
    add_arc(value.up, reader, kInfinite);
  }
  if (value.maker != kSource) {
    if (value.down == kNone) {
      value.down = add_vertex();
      add_arc(value.down, value.maker, picoseconds(model.transfer(Direction::download, bytes)));
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
    if (!block.nodes[i].work->gpu_possible) {
      add_arc(kSource, v, kInfinite);
      continue;
    }
    const int64_t cpu = picoseconds(costs_[2 * i]), gpu = picoseconds(costs_[2 * i + 1]);
    if (gpu > cpu) add_arc(kSource, v, gpu - cpu);
    if (cpu > gpu) add_arc(v, kSink, cpu - gpu);
  }
  values_.clear();
  for (const auto& b : block.buffers)
    values_.push_back({b.host == b.device ? kNone : b.host ? kSource : kSink, kNone, kNone});
  for (size_t i = 0; i < block.nodes.size(); i++) {
    const BlockNode& node = block.nodes[i];
    const uint32_t v = static_cast<uint32_t>(i + 2);
    for (uint32_t k = 0; k < node.inputs; k++) {
      const uint32_t b = block.operands[node.first + k];
      want(values_[b], block.buffers[b], model, v);
    }
    for (uint32_t k = 0; k < node.outputs; k++)
      values_[block.operands[node.first + node.inputs + k]] = {v, kNone, kNone};
  }
  for (size_t b = 0; b < block.buffers.size(); b++)
    if (block.buffers[b].read) want(values_[b], block.buffers[b], model, kSource);
}

// ---- Maximum flow (Dinic): shortest augmenting paths, all of one length at a time

bool Partitioner::levels() {
  level_.assign(head_.size(), kNone);
  queue_.clear();
  queue_.push_back(kSource);
  level_[kSource] = 0;
  for (size_t next = 0; next < queue_.size(); next++) {
    const uint32_t v = queue_[next];
    for (uint32_t a = head_[v]; a != kNone; a = arcs_[a].next) {
      if (arcs_[a].capacity == 0 || level_[arcs_[a].to] != kNone) continue;
      level_[arcs_[a].to] = level_[v] + 1;
      queue_.push_back(arcs_[a].to);
    }
  }
  return level_[kSink] != kNone;
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
      while (a != kNone && (arcs_[a].capacity == 0 || level_[arcs_[a].to] != level_[v] + 1))
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

// Of all minimum cuts the one with most work on the CPU: the GPU gets what can still reach the sink.
void Partitioner::mark_gpu() {
  level_.assign(head_.size(), kNone);
  queue_.clear();
  queue_.push_back(kSink);
  level_[kSink] = 0;
  for (size_t next = 0; next < queue_.size(); next++)
    for (uint32_t a = head_[queue_[next]]; a != kNone; a = arcs_[a].next) {
      const uint32_t from = arcs_[a].to;
      if (arcs_[a ^ 1].capacity == 0 || level_[from] != kNone) continue;
      level_[from] = 0;
      queue_.push_back(from);
    }
}

}  // namespace attn
