// The words that every floor of the native house shares: dtypes and typed errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace attn {

// Codes shared with src/tensor/dtype.ts and shaders/lib/storage.glsl.
enum class DType : uint8_t { f32 = 0, f16 = 1, bf16 = 2, i32 = 3, u8 = 4, boolean = 5 };

inline constexpr size_t size_of(DType t) {
  constexpr size_t bytes[] = {4, 2, 2, 4, 1, 1};
  return bytes[static_cast<size_t>(t)];
}

inline constexpr const char* name_of(DType t) {
  constexpr const char* names[] = {"float32", "float16", "bfloat16", "int32", "uint8", "bool"};
  return names[static_cast<size_t>(t)];
}

// An error that reaches JavaScript as the class that src/runtime/errors.ts maps its code to.
struct Error : std::runtime_error {
  Error(std::string code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code(std::move(code)), hint(std::move(hint)) {}
  std::string code;  // "ATTN_OUT_OF_MEMORY", "ATTN_DEVICE_LOST", "ATTN_INDEX", ...
  std::string hint;  // what to do about it
  std::string op;    // the op that failed, set by the executor
};

}  // namespace attn
