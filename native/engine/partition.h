// Chooses a side for every instruction of a block at once, so that work does not ping-pong.
//
// Minimises  Σ_i t(i, side_i) + Σ_b D(b) [made on the GPU, wanted on the CPU] + Σ_b U(b) [made on the CPU,
// wanted on the GPU]  where each buffer crosses at most once per write, however many read it. This is a
// minimum s-t cut:
//   source side = CPU, sink side = GPU
//   s -> i  t(i, gpu)     cut when i runs on the GPU         i -> t  t(i, cpu)   cut when i runs on the CPU
//   c -> d ∞, d -> p  D(b)   for p making b and each c reading it: cut when p is on the GPU and some c on the
//   CPU p -> u  U(b), u -> c ∞   likewise for the upload
// With one reader the two vertices fold into one arc each way between p and c. A buffer from outside has s or
// t in place of p, a host read has s in place of c. So the choice is exact for the model.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "cost_model.h"

namespace attn {

struct BlockNode {
  const Work* work;
  uint32_t first;            // operands[first, first + inputs) are read,
  uint32_t inputs, outputs;  // the `outputs` after them are written
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

// Follows a block through an assignment; calls back for each copy that it needs, with the node that caused it
// (the reader; for a host read the maker, or kOutside where nothing in the block made it).
inline constexpr uint32_t kOutside = ~0u;
template <class OnCopy>
void for_each_copy(const Block& block, std::span<const Side> sides, OnCopy&& on_copy) {
  struct State {
    bool host, device;
    uint32_t maker;
  };
  std::vector<State> state;
  state.reserve(block.buffers.size());
  for (const auto& b : block.buffers) state.push_back({b.host, b.device, kOutside});
  for (uint32_t i = 0; i < block.nodes.size(); i++) {
    const auto& node = block.nodes[i];
    const bool gpu = sides[i] == Side::gpu;
    for (uint32_t k = 0; k < node.inputs; k++) {
      const uint32_t b = block.operands[node.first + k];
      auto& s = state[b];
      if (gpu ? s.device || !s.host : s.host || !s.device) continue;
      on_copy(i, gpu ? Direction::upload : Direction::download, b);
      s.host = s.device = true;
    }
    for (uint32_t k = 0; k < node.outputs; k++)
      state[block.operands[node.first + node.inputs + k]] = {!gpu, gpu, i};
  }
  for (uint32_t b = 0; b < state.size(); b++)
    if (block.buffers[b].read && state[b].device && !state[b].host)
      on_copy(state[b].maker, Direction::download, b);
}

// Seconds of a whole assignment under the model, hysteresis included: what partition() minimises.
// Infinite where an instruction is on a side that cannot run it.
double cost_of(const Block&, const CostModel&, std::span<const Side>);

// Keeps its scratch between blocks: no allocation once it has seen a block as large. A training loop sends
// the same block again and again: its cut (up to 1 µs an instruction) is remembered until an estimate moves.
class Partitioner {
 public:
  // Fills `out` with one side per node and tells the model what was chosen.
  // All nodes at least as cheap on the CPU and nothing valid on the device alone: done in one pass, no graph.
  void partition(const Block&, CostModel&, std::vector<Side>& out);

  uint64_t cuts() const { return cuts_; }  // blocks for which a graph was cut

 private:
  struct Arc {
    uint32_t to, next;
    int64_t capacity;  // picoseconds
  };
  // One value of a buffer: what an instruction wrote, or what came from outside.
  struct Value {
    uint32_t maker, buffer, last_reader, readers;
    uint32_t up, down;  // vertices d and u, made when wanted
  };
  uint32_t add_vertex();
  void add_arc(uint32_t from, uint32_t to, int64_t capacity, int64_t back = 0);
  bool remembered(const Block&, const CostModel&, std::vector<Side>& out);
  void build(const Block&, const CostModel&);
  void follow(const Block&);
  void want(Value&, const Block&, const CostModel&, uint32_t reader);
  void max_flow();
  bool levels();

  std::vector<Arc> arcs_;
  std::vector<uint32_t> head_, cursor_, level_, queue_, path_;
  std::vector<double> costs_;  // cpu, gpu of each node
  std::vector<Value> values_;
  std::vector<uint32_t> value_of_, operand_value_;          // of a buffer now; of each operand
  std::unordered_map<uint64_t, std::vector<Side>> memory_;  // by block, for the estimates of memory_version_
  uint64_t block_hash_ = 0, cuts_ = 0;
  uint32_t memory_version_ = 0;
};

}  // namespace attn
