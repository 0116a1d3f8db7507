#include "values.h"

#include "../cpu/kernel.h"

namespace attn::node {

Napi::Error to_js(Napi::Env env, const Error& error) {
  auto js = Napi::Error::New(env, error.what());
  js.Set("code", error.code);
  if (!error.op.empty()) js.Set("op", error.op);
  if (!error.hint.empty()) js.Set("hint", error.hint);
  return js;
}

Napi::Array strings(Napi::Env env, const std::vector<std::string>& values) {
  auto array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); i++) array.Set(static_cast<uint32_t>(i), values[i]);
  return array;
}

double number(const Napi::Object& from, const char* key, double otherwise) {
  const Napi::Value v = from.Get(key);
  return v.IsNumber() ? v.As<Napi::Number>().DoubleValue() : otherwise;
}

std::string text(const Napi::Object& from, const char* key) {
  const Napi::Value v = from.Get(key);
  return v.IsString() ? v.As<Napi::String>().Utf8Value() : std::string();
}

std::span<char> bytes_of(const Napi::TypedArray& array) {
  void* data = nullptr;
  if (napi_get_typedarray_info(array.Env(), array, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok)
    throw Napi::Error::New(array.Env());
  return {static_cast<char*>(data), array.ByteLength()};
}

Napi::Object to_js(Napi::Env env, const vulkan::Caps& c) {
  auto o = Napi::Object::New(env);
  const auto triple = [&](const uint32_t(&v)[3]) {
    auto a = Napi::Array::New(env, 3);
    for (uint32_t i = 0; i < 3; i++) a.Set(i, v[i]);
    return a;
  };
  o.Set("index", c.index);
  o.Set("name", c.name);
  o.Set("type", c.type);
  o.Set("vendorId", c.vendor_id);
  o.Set("deviceId", c.device_id);
  o.Set("driverName", c.driver_name);
  o.Set("driverInfo", c.driver_info);
  o.Set("driverVersion", c.driver_version);
  o.Set("apiVersion", c.api_version);
  o.Set("uuid", c.uuid);
  o.Set("subgroupSize", c.subgroup_size);
  o.Set("subgroupMin", c.subgroup_min);
  o.Set("subgroupMax", c.subgroup_max);
  o.Set("subgroupOps", strings(env, c.subgroup_ops));
  o.Set("maxInvocations", c.max_invocations);
  o.Set("maxGroupSize", triple(c.max_group_size));
  o.Set("maxGroupCount", triple(c.max_group_count));
  o.Set("sharedBytes", c.shared_bytes);
  o.Set("maxBindingBytes", static_cast<double>(c.max_binding_bytes));
  o.Set("maxBindings", c.max_bindings);
  o.Set("maxPushBytes", c.max_push_bytes);
  o.Set("offsetAlignment", static_cast<double>(c.offset_alignment));
  o.Set("maxAllocationBytes", static_cast<double>(c.max_allocation_bytes));
  o.Set("heapBytes", static_cast<double>(c.heap_bytes));
  o.Set("unified", c.unified);
  o.Set("float16", c.float16);
  o.Set("storage16", c.storage16);
  o.Set("timelineSemaphore", c.timeline_semaphore);
  o.Set("cooperativeMatrix", c.cooperative_matrix);
  o.Set("timestampPeriodNs", c.timestamp_period_ns);
  o.Set("unusable", c.unusable);
  return o;
}

namespace {

Napi::Object counts(Napi::Env env, std::initializer_list<std::pair<const char*, uint64_t>> values) {
  auto out = Napi::Object::New(env);
  for (const auto& [key, value] : values) out.Set(key, static_cast<double>(value));
  return out;
}

std::vector<engine::OperandInfo> operand_infos(const Napi::Value& value) {
  std::vector<engine::OperandInfo> out;
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    const auto o = array.Get(i).As<Napi::Object>();
    out.push_back({static_cast<uint64_t>(number(o, "bytes")), static_cast<DType>(number(o, "dtype")),
                   number(o, "low"), number(o, "high")});
  }
  return out;
}

}  // namespace

engine::Prepared prepared_from(const Napi::Object& o) {
  engine::Prepared p;
  p.op = text(o, "op");
  p.problem = text(o, "problem");
  p.dtype = text(o, "dtype");
  p.inputs = operand_infos(o.Get("inputs"));
  p.outputs = operand_infos(o.Get("outputs"));
  p.updates = numbers<uint32_t>(o.Get("updates"));
  p.spoils = o.Get("spoils").ToBoolean();
  const auto cpu = o.Get("cpu").As<Napi::Object>();
  p.kernel = text(cpu, "kernel");
  p.attrs = numbers<double>(cpu.Get("attrs"));
  const auto cost = o.Get("cost").As<Napi::Object>();
  p.family = text(cost, "family");
  p.flops = number(cost, "flops");
  p.bytes = number(cost, "bytes");
  p.probe = static_cast<int32_t>(number(o, "probe", -1));
  p.probe_tolerance = number(o, "probeTolerance");
  const auto gpu = o.Get("gpu").As<Napi::Object>();
  p.gpu_reason = text(gpu, "reason");
  if (!p.gpu_reason.empty()) return p;
  p.variant = text(gpu, "variant");
  p.scratch = numbers<uint64_t>(gpu.Get("scratch"));
  const auto dispatches = gpu.Get("dispatches").As<Napi::Array>();
  for (uint32_t i = 0; i < dispatches.Length(); i++) {
    const auto d = dispatches.Get(i).As<Napi::Object>();
    engine::PlannedDispatch out;
    out.shader = text(d, "shader");
    // Negative integers arrive as their two's complement.
    for (const int64_t w : numbers<int64_t>(d.Get("spec"))) out.spec.push_back(static_cast<uint32_t>(w));
    for (const int64_t w : numbers<int64_t>(d.Get("push"))) out.push.push_back(static_cast<uint32_t>(w));
    out.groups = static_cast<uint64_t>(number(d, "groups"));
    const auto binds = d.Get("binds").As<Napi::Array>();
    for (uint32_t k = 0; k < binds.Length(); k++) {
      const auto b = binds.Get(k).As<Napi::Object>();
      const auto operand = static_cast<uint32_t>(number(b, "operand"));
      const Napi::Value write = b.Get("write");
      out.binds.push_back(
          {.operand = operand,
           .offset = static_cast<uint64_t>(number(b, "offset")),
           .bytes = static_cast<uint64_t>(number(b, "bytes")),
           .whole = !b.Get("bytes").IsNumber(),
           .write = write.IsBoolean() ? write.As<Napi::Boolean>().Value() : operand >= p.inputs.size()});
    }
    p.dispatches.push_back(std::move(out));
  }
  return p;
}

Napi::Object to_js(Napi::Env env, const vulkan::Stats& s) {
  return counts(env, {{"live", s.live_bytes},
                      {"peak", s.peak_bytes},
                      {"pooled", s.pooled_bytes},
                      {"slabs", s.slab_bytes},
                      {"dispatches", s.dispatches},
                      {"barriers", s.barriers},
                      {"submits", s.submits},
                      {"pipelines", s.pipelines},
                      {"uploaded", s.bytes_uploaded},
                      {"downloaded", s.bytes_downloaded}});
}

Napi::Object to_js(Napi::Env env, const engine::PoolStats& s) {
  return counts(env, {{"live", s.live},
                      {"peak", s.peak},
                      {"pooled", s.pooled},
                      {"budget", s.budget},
                      {"allocations", s.allocations}});
}

Napi::Array to_js(Napi::Env env, const std::vector<engine::ProfileRow>& rows) {
  auto out = Napi::Array::New(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) {
    const engine::ProfileRow& row = rows[i];
    auto o = Napi::Object::New(env);
    o.Set("op", row.op);
    o.Set("problem", row.problem);
    o.Set("side", name_of(row.side));
    o.Set("count", static_cast<double>(row.count));
    o.Set("seconds", row.seconds);
    o.Set("flops", row.flops);
    o.Set("bytes", row.bytes);
    out.Set(i, o);
  }
  return out;
}

Napi::Array to_js(Napi::Env env, const std::vector<Explanation>& rows) {
  auto out = Napi::Array::New(env, rows.size());
  for (uint32_t i = 0; i < rows.size(); i++) {
    auto o = Napi::Object::New(env);
    o.Set("op", rows[i].op);
    o.Set("problem", rows[i].problem);
    o.Set("cpu", rows[i].cpu);
    o.Set("gpu", rows[i].gpu);
    o.Set("transfer", rows[i].transfer);
    o.Set("side", name_of(rows[i].side));
    o.Set("source", name_of(rows[i].source));
    o.Set("reason", rows[i].reason);
    out.Set(i, o);
  }
  return out;
}

Napi::Object to_js(Napi::Env env, const vulkan::Survey& s) {
  auto o = Napi::Object::New(env);
  o.Set("loader", s.loader);
  o.Set("loaderPath", s.loader_path);
  o.Set("loaderVersion", s.loader_version);
  o.Set("loaderError", s.loader_error);
  o.Set("drivers", strings(env, s.drivers));
  o.Set("layers", strings(env, s.layers));
  o.Set("attempts", strings(env, s.attempts));
  auto devices = Napi::Array::New(env, s.devices.size());
  for (size_t i = 0; i < s.devices.size(); i++)
    devices.Set(static_cast<uint32_t>(i), to_js(env, s.devices[i]));
  o.Set("devices", devices);
  return o;
}

Napi::Object to_js(Napi::Env env, const engine::CpuInfo& c) {
  auto o = Napi::Object::New(env);
  o.Set("model", c.model);
  o.Set("features", strings(env, c.features));
  o.Set("cores", c.cores);
  o.Set("memoryBytes", static_cast<double>(c.memory_bytes));
  o.Set("kernels", strings(env, cpu::kernel_names()));
  return o;
}

}  // namespace attn::node
