// Why the router did what it did, in figures and words.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "partition.h"

namespace attn {

// One line of `device.explain()` and of `attn-vk route`.
struct Explanation {
  std::string op, problem;
  double cpu, gpu,
      transfer;  // seconds; gpu is infinite where it is impossible; transfer: caused by this choice
  Side side;
  Source source;  // of the chosen side's estimate
  std::string reason;
};

// Names that the model does not know, one per node.
struct Label {
  std::string_view op, problem, gpu_refusal;  // refusal: why there is no GPU plan, empty where there is one
};

// Explains an assignment: one that partition() made, or one that was forced ("cpu" / "gpu": ATTN_VK_ROUTE).
std::vector<Explanation> explain(const Block&, const CostModel&, std::span<const Side>,
                                 std::span<const Label>, std::string_view forced = {});

}  // namespace attn
