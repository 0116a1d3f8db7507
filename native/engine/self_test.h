// Runs a prepared op on made-up inputs: to prove a GPU variant against the CPU, and to time both sides.
#pragma once

#include <string>
#include <vector>

#include "cost_model.h"
#include "prepared.h"

namespace attn::engine {

class Executor;

// JavaScript numbers its buffers from here (src/runtime/runtime.ts); the numbers below are those of
// self-tests.
inline constexpr int32_t kReservedBuffers = 64;

// Why the op's GPU plan disagrees with its CPU kernel, or cannot run; empty when they agree.
std::string self_test(Executor&, Prepared&, double tolerance);

// Rates of both sides on these ops, launch and transfer costs: at most `budget` seconds. Incomplete where the
// executor is being stopped.
Calibration measure(Executor&, const std::vector<int32_t>& prepared, double budget);

}  // namespace attn::engine
