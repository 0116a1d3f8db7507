// Memory that a kernel needs while it runs, kept for its next run: kernels allocate nothing when sizes
// repeat. One buffer for each tag and thread, zero when it is new.
#pragma once

#include <cstddef>
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

}  // namespace attn::cpu
