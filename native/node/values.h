// Errors and plain values on their way to JavaScript and back: no object of the engine lives here.
#pragma once

#include <napi.h>

#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "../engine/cpu_info.h"
#include "../engine/explain.h"
#include "../engine/host_pool.h"
#include "../engine/prepared.h"
#include "../engine/profile.h"

namespace attn::node {

Napi::Error to_js(Napi::Env env, const Error& error);
Napi::Object to_js(Napi::Env env, const vulkan::Caps&);
Napi::Object to_js(Napi::Env env, const vulkan::Survey&);
Napi::Object to_js(Napi::Env env, const vulkan::Stats&);
Napi::Object to_js(Napi::Env env, const engine::PoolStats&);
Napi::Object to_js(Napi::Env env, const engine::CpuInfo&);
Napi::Array to_js(Napi::Env env, const std::vector<Explanation>&);
Napi::Array to_js(Napi::Env env, const std::vector<engine::ProfileRow>&);
Napi::Array strings(Napi::Env env, const std::vector<std::string>& values);

// Properties of a plain object; `otherwise`, or the empty string, where there is none of the kind.
double number(const Napi::Object& from, const char* key, double otherwise = 0);
std::string text(const Napi::Object& from, const char* key);

// What a typed array views, in memory that threads share (SharedArrayBuffer) too.
std::span<char> bytes_of(const Napi::TypedArray&);

// Prepared of src/runtime/binding.ts.
engine::Prepared prepared_from(const Napi::Object&);

template <class T>
std::vector<T> numbers(const Napi::Value& value) {
  std::vector<T> out;
  if (!value.IsArray()) return out;
  const auto array = value.As<Napi::Array>();
  out.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++)
    out.push_back(static_cast<T>(array.Get(i).As<Napi::Number>().DoubleValue()));
  return out;
}

// Runs `body`, raising what the engine throws as a JavaScript error with its code.
template <class F>
auto guarded(Napi::Env env, F&& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Error& error) {
    throw to_js(env, error);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw to_js(env, Error("ATTN_INTERNAL", error.what()));
  }
}

}  // namespace attn::node
