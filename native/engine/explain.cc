#include "explain.h"

#include <cmath>
#include <cstdio>
#include <limits>

namespace attn {
namespace {

std::string duration(double seconds) {
  char text[32];
  if (seconds < 1e-3)
    std::snprintf(text, sizeof text, "%.3g µs", seconds * 1e6);
  else if (seconds < 1)
    std::snprintf(text, sizeof text, "%.3g ms", seconds * 1e3);
  else
    std::snprintf(text, sizeof text, "%.3g s", seconds);
  return text;
}

std::string times(double ratio) {
  char text[32];
  std::snprintf(text, sizeof text, ratio < 9.95 ? "%.2fx" : "%.0fx", ratio);
  return text;
}

double copies(const Block& block, const CostModel& model, std::span<const Side> sides) {
  double total = 0;
  for_each_copy(block, sides, [&](uint32_t, Direction d, uint32_t b) {
    total += model.transfer(d, static_cast<double>(block.buffers[b].bytes));
  });
  return total;
}

// `more`: seconds of copies that the other side would add to the block.
std::string reason_for(const Explanation& e, double more, bool alone) {
  const double mine = e.side == Side::cpu ? e.cpu : e.gpu, other = e.side == Side::cpu ? e.gpu : e.cpu;
  const std::string other_name = e.side == Side::cpu ? "gpu" : "cpu";
  if (mine <= other) {
    std::string text = mine == other ? "as fast as on the " + other_name
                                     : times(other / mine) + " faster than on the " + other_name;
    if (e.transfer > 0) text += ", " + duration(e.transfer) + " of copies included in the choice";
    return text;
  }
  const std::string faster = "the " + other_name + " alone would be " + times(mine / other) + " faster";
  if (mine <= other + more) return faster + ", but needs " + duration(more) + " more of copies";
  if (mine < other * CostModel::kHysteresis + more)
    return faster + ": less than the 15 % for which a route changes";
  return alone ? faster : faster + ", but its neighbours in the block run here";
}

}  // namespace

std::vector<Explanation> explain(const Block& block, const CostModel& model, std::span<const Side> sides,
                                 std::span<const Label> labels, std::string_view forced) {
  const size_t n = block.nodes.size();
  std::vector<Explanation> rows(n);
  std::vector<Side> flipped(sides.begin(), sides.end());
  const double now = copies(block, model, sides);
  for_each_copy(block, sides, [&](uint32_t node, Direction d, uint32_t b) {
    if (node != kOutside)
      rows[node].transfer += model.transfer(d, static_cast<double>(block.buffers[b].bytes));
  });
  for (size_t i = 0; i < n; i++) {
    const Work& work = *block.nodes[i].work;
    Explanation& e = rows[i];
    e.op = labels[i].op;
    e.problem = labels[i].problem;
    e.side = sides[i];
    e.source = model.source(work, e.side);
    e.cpu = model.seconds(work, Side::cpu);
    e.gpu = work.gpu_possible ? model.seconds(work, Side::gpu) : std::numeric_limits<double>::infinity();
    if (!work.gpu_possible) {
      e.reason =
          labels[i].gpu_refusal.empty() ? "not possible on the gpu" : std::string(labels[i].gpu_refusal);
    } else if (!forced.empty()) {
      e.reason = forced;
    } else {
      flipped[i] = e.side == Side::cpu ? Side::gpu : Side::cpu;
      e.reason = reason_for(e, copies(block, model, flipped) - now, n == 1);
      flipped[i] = e.side;
    }
  }
  return rows;
}

}  // namespace attn
