// Chooses a side for every instruction of a block at once, so that work does not ping-pong.
//
// Minimises  Σ_i t(i, side_i) + Σ_b D(b) [made on the GPU, wanted on the CPU] + Σ_b U(b) [made on the CPU,
// wanted on the GPU]  where each buffer crosses at most once per write, however many read it. This is a
// minimum s-t cut:
//   source side = CPU, sink side = GPU
//   s -> i  t(i, gpu)     cut when i runs on the GPU         i -> t  t(i, cpu)   cut when i runs on the CPU
//   c -> d ∞, d -> p  D(b)   for p making b and each c reading it: cut when p is on the GPU and some c on the
//   CPU p -> u  U(b), u -> c ∞   likewise for the upload
// A buffer from outside has s or t in place of p, a host read has s in place of c. So the choice is exact for
// the model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cost_model.h"

namespace attn {

struct BlockNode {
  const Work* work;
  uint32_t first;            // operands[first, first + inputs) are read,
  uint16_t inputs, outputs;  // the `outputs` after them are written
};

struct BlockBuffer {
  uint64_t bytes;
  bool host = false, device = false;  // where it is valid before the block; both false: nothing to move
  bool read = false;                  // its final value is read by the host after the block
};

struct Block {
  std::span<const BlockNode> nodes;    // in order of execution
  std::span<const uint32_t> operands;  // indices into buffers
  std::span<const BlockBuffer> buffers;
};

// Seconds of a whole assignment under the model, hysteresis included: what partition() minimises.
// Infinite where an instruction is on a side that cannot run it.
double cost_of(const Block&, const CostModel&, std::span<const Side>);

// Keeps its scratch between blocks: no allocation once it has seen a block as large.
class Partitioner {
 public:
  // Fills `out` with one side per node and tells the model what was chosen.
  // All nodes at least as cheap on the CPU and nothing valid on the device alone: done in one pass, no graph.
  void partition(const Block&, CostModel&, std::vector<Side>& out);

  uint64_t cuts() const { return cuts_; }  // blocks that needed a graph

 private:
  struct Arc {
    uint32_t to, next;
    double capacity;
  };
  uint32_t add_vertex();
  void add_arc(uint32_t from, uint32_t to, double capacity, double back = 0);
  void build(const Block&, const CostModel&);
  void connect(uint32_t maker, uint32_t reader, uint32_t buffer);
  void max_flow();
  bool levels();
  double push(uint32_t from, double most);

  std::vector<Arc> arcs_;
  std::vector<uint32_t> head_, cursor_, level_, queue_, path_;
  std::vector<double> costs_;
  struct Version {
    uint32_t maker, up, down;
    double upload, download;
  };
  std::vector<Version> versions_;
  uint64_t cuts_ = 0;
};

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
