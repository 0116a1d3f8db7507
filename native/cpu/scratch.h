// Memory that a kernel needs while it runs, kept for its next run: kernels allocate nothing when sizes
// repeat. One buffer for each tag and thread, zero when it is new.
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include "../engine/types.h"

namespace attn::cpu {

template <class Tag, class T>
T* scratch(size_t n) {
  thread_local std::vector<T> held;
  try {
    if (held.size() < n) held = {}, held.resize(n);
  } catch (const std::bad_alloc&) {
    throw Error("ATTN_OUT_OF_MEMORY", "no room for what a kernel keeps while it runs");
  }
  return held.data();
}

// Floats from the beginning of a cache line on, so that no whole vector crosses two.
template <class Tag>
float* aligned_scratch(size_t floats) {
  const auto at = reinterpret_cast<uintptr_t>(scratch<Tag, float>(floats + 16));
  return reinterpret_cast<float*>((at + 63) / 64 * 64);
}

}  // namespace attn::cpu
