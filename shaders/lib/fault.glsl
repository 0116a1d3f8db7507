// The engine's fault words (operand FAULT of a plan, src/ops/launch.ts): {1, index, its position}, written once between
// two checks (native/engine/executor.cc), by whichever invocation comes first.
#ifndef ATTN_FAULT
#define ATTN_FAULT
#define REPORT_INDEX(fault_words, index, position)        \
  if (atomicCompSwap(fault_words[0], 0u, 1u) == 0u) {     \
    fault_words[1] = uint(index);                         \
    fault_words[2] = position;                            \
  }
#endif
