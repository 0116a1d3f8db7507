#include "engine.h"

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "../engine/self_test.h"
#include "values.h"

namespace attn::node {

using engine::Executor;
using engine::Submission;

Napi::Function Engine::constructor(Napi::Env env, std::set<Engine*>& running) {
  return DefineClass(
      env, "Engine",
      {InstanceMethod<&Engine::caps>("caps"), InstanceMethod<&Engine::prepare>("prepare"),
       InstanceMethod<&Engine::upload>("upload"), InstanceMethod<&Engine::submit>("submit"),
       InstanceMethod<&Engine::submit_sync>("submitSync"), InstanceMethod<&Engine::stats>("stats"),
       InstanceMethod<&Engine::take_peak>("takePeak"), InstanceMethod<&Engine::trim>("trim"),
       InstanceMethod<&Engine::calibrate>("calibrate"), InstanceMethod<&Engine::explain>("explain"),
       InstanceMethod<&Engine::profile>("profile"), InstanceMethod<&Engine::routing>("routing"),
       InstanceMethod<&Engine::set_route>("setRoute"), InstanceMethod<&Engine::take_messages>("takeMessages"),
       InstanceMethod<&Engine::dispose>("dispose")},
      &running);
}

Engine::Engine(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Engine>(info), running_(*static_cast<std::set<Engine*>*>(info.Data())) {
  const Napi::Env env = info.Env();
  const auto options = info[0].As<Napi::Object>();
  channel_ = Channel::New(env, options.Get("onWarning").As<Napi::Function>(), "attn-vk", 0, 1, this);
  channel_.Unref(env);
  running_.insert(this);
  // Cleanup hooks run last in, first out: the executor is joined before the channel is torn down.
  napi_add_env_cleanup_hook(env, &Engine::on_exit, this);
  engine::ExecutorOptions o;
  if (options.Get("device").IsNumber()) o.device = static_cast<uint32_t>(number(options, "device"));
  o.validate = options.Get("validate").ToBoolean();
  o.route = parse_route(text(options, "route"));
  o.threads = static_cast<int>(number(options, "threads", 1));
  o.host_budget = static_cast<uint64_t>(number(options, "hostBudget"));
  o.device_budget = static_cast<uint64_t>(number(options, "deviceBudget"));
  o.cache_folder = text(options, "cacheFolder");
  o.version = text(options, "version");
  o.warn = [channel = channel_](const std::string& message) {
    auto* m = new Message;
    m->warning = message;
    if (channel.NonBlockingCall(m) != napi_ok) delete m;
  };
  try {
    executor_ = std::make_unique<Executor>(std::move(o));
  } catch (const Error& error) {
    close(env);
    throw to_js(env, error);
  } catch (const std::exception& error) {
    close(env);
    throw to_js(env, Error("ATTN_INTERNAL", error.what()));
  }
}

void Engine::close(Napi::Env env) {
  if (!open_) return;
  running_.erase(this);
  napi_remove_env_cleanup_hook(env, &Engine::on_exit, this);
  shut_down();
}

void Engine::finished(Napi::Env env) {
  if (--pending_ > 0) return;
  if (open_) channel_.Unref(env);
  Unref();
}

engine::Route Engine::parse_route(const std::string& route) {
  if (route == "cpu") return engine::Route::cpu;
  if (route == "gpu") return engine::Route::gpu;
  return engine::Route::automatic;
}

void Engine::shut_down() {
  if (!open_) return;
  open_ = false;
  if (executor_)
    for (const auto& u : uploads_) executor_->pool().release(u.block);
  executor_.reset();
  channel_.Release();
}

Executor& Engine::executor(Napi::Env env) {
  if (!executor_) throw to_js(env, Error("ATTN_DISPOSED", "the runtime was disposed", "make another"));
  return *executor_;
}

std::pair<Napi::Value, std::function<void(const Error*)>> Engine::promise_for(
    Napi::Env env, std::vector<Napi::Reference<Napi::TypedArray>> kept) {
  auto* message = new Message;
  message->targets = std::move(kept);
  message->deferred = std::make_unique<Napi::Promise::Deferred>(env);
  if (pending_++ == 0) {
    channel_.Ref(env);
    Ref();  // a promise outlives the last reference to its runtime
  }
  return {message->deferred->Promise(), [channel = channel_, message](const Error* error) {
            if (error) message->error = std::make_unique<Error>(*error);
            // When the channel is closing, the environment is going away and nobody waits: the message
            // leaks with it, for its references may be released on the JavaScript thread alone.
            channel.NonBlockingCall(message);
          }};
}

template <class F>
void Engine::on_executor(Napi::Env env, F&& task) {
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  std::exception_ptr failure;
  executor(env).post([&] {
    try {
      task();
    } catch (...) {
      failure = std::current_exception();
    }
    std::lock_guard lock(mutex);
    done = true;
    wake.notify_one();
  });
  std::unique_lock lock(mutex);
  wake.wait(lock, [&] { return done; });
  if (failure) guarded(env, [&] { std::rethrow_exception(failure); });
}

Napi::Value Engine::caps(const Napi::CallbackInfo& info) {
  const vulkan::Caps* caps = executor(info.Env()).caps();
  return caps ? Napi::Value(to_js(info.Env(), *caps)) : info.Env().Null();
}

Napi::Value Engine::prepare(const Napi::CallbackInfo& info) {
  new_prepared_.push_back(prepared_from(info[1].As<Napi::Object>()));
  new_prepared_.back().number = info[0].As<Napi::Number>().Uint32Value();
  return info.Env().Undefined();
}

Napi::Value Engine::upload(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto bytes = bytes_of(info[0].As<Napi::TypedArray>());
    const auto block = executor(info.Env()).pool().allocate(bytes.size());
    if (!bytes.empty()) std::memcpy(block.data, bytes.data(), bytes.size());
    uploads_.push_back({block, bytes.size()});
    return Napi::Number::New(info.Env(), static_cast<double>(uploads_.size() - 1));
  });
}

Submission Engine::submission_from(const Napi::CallbackInfo& info,
                                   std::vector<Napi::Reference<Napi::TypedArray>>* keep) {
  const auto words = info[0].As<Napi::Int32Array>();
  const auto count = info[1].As<Napi::Number>().Int64Value();
  Submission submission;
  submission.words.assign(words.Data(), words.Data() + count);
  submission.uploads = std::move(uploads_);
  submission.prepared = std::move(new_prepared_);
  uploads_.clear();
  new_prepared_.clear();
  if (info[2].IsArray()) {
    const auto targets = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < targets.Length(); i++) {
      const auto target = targets.Get(i).As<Napi::TypedArray>();
      const auto bytes = bytes_of(target);
      submission.targets.push_back({bytes.data(), bytes.size()});
      if (keep) keep->push_back(Napi::Persistent(target));
    }
  }
  submission.barrier = info[3].ToBoolean();
  if (const auto delta = info[4].As<Napi::Number>().Int64Value(); delta != 0)
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), delta);
  return submission;
}

Napi::Value Engine::submit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  std::vector<Napi::Reference<Napi::TypedArray>> kept;
  Submission submission = submission_from(info, &kept);
  if (submission.targets.empty() && !submission.barrier) {
    executor.submit(std::move(submission));
    return env.Undefined();
  }
  auto [promise, finish] = promise_for(env, std::move(kept));
  submission.finished = std::move(finish);
  executor.submit(std::move(submission));
  return promise;
}

Napi::Value Engine::submit_sync(const Napi::CallbackInfo& info) {
  Executor& executor = this->executor(info.Env());
  Submission submission = submission_from(info, nullptr);
  std::mutex mutex;
  std::condition_variable wake;
  bool done = false;
  std::unique_ptr<Error> failure;
  submission.finished = [&](const Error* error) {
    std::lock_guard lock(mutex);
    if (error) failure = std::make_unique<Error>(*error);
    done = true;
    wake.notify_one();
  };
  executor.submit(std::move(submission));
  std::unique_lock lock(mutex);
  wake.wait(lock, [&] { return done; });
  if (failure) throw to_js(info.Env(), *failure);
  return info.Env().Undefined();
}

Napi::Value Engine::stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  const bool wait = info[0].ToBoolean();  // true: after all submitted work, device counters included
  auto out = Napi::Object::New(env);
  const auto set = [&](const char* key, uint64_t value) { out.Set(key, static_cast<double>(value)); };
  if (wait) {
    vulkan::Stats device{};
    uint64_t buffers = 0;
    const bool has_device = executor.caps() != nullptr;
    on_executor(env, [&] {
      buffers = executor.buffers().live_buffers();
      if (has_device) device = executor.device()->stats();
    });
    set("buffers", buffers);
    if (has_device) {
      out.Set("device", to_js(env, device));
    }
  }
  out.Set("host", to_js(env, executor.pool().stats()));
  set("blocks", executor.counters().blocks);
  set("opsCpu", executor.counters().ops_cpu);
  set("opsGpu", executor.counters().ops_gpu);
  set("uploads", executor.counters().uploads);
  set("downloads", executor.counters().downloads);
  return out;
}

Napi::Value Engine::take_peak(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  auto target = info[0].As<Napi::Float64Array>();
  double* out = target.Data();
  std::vector<Napi::Reference<Napi::TypedArray>> kept;
  kept.push_back(Napi::Persistent(info[0].As<Napi::TypedArray>()));
  auto [promise, finish] = promise_for(env, std::move(kept));
  executor.post([&executor, out, finish = std::move(finish)] {
    out[0] = static_cast<double>(executor.pool().stats().peak);
    executor.pool().reset_peak();
    if (vulkan::Device* device = executor.device()) {
      out[1] = static_cast<double>(device->stats().peak_bytes);
      device->reset_peak();
    }
    finish(nullptr);
  });
  return promise;
}

Napi::Value Engine::trim(const Napi::CallbackInfo& info) {
  Executor& executor = this->executor(info.Env());
  on_executor(info.Env(), [&] {
    executor.pool().trim();
    executor.pool().reset_peak();
    if (executor.device()) executor.device()->trim();
  });
  return info.Env().Undefined();
}

Napi::Value Engine::calibrate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  Submission carrier;  // takes the new prepared ops along
  carrier.prepared = std::move(new_prepared_);
  new_prepared_.clear();
  executor.submit(std::move(carrier));
  auto [promise, finish] = promise_for(env, {});
  executor.post([&executor, finish = std::move(finish), ids = numbers<int32_t>(info[0]),
                 seconds = info[1].As<Napi::Number>().DoubleValue()] {
    try {
      const Calibration measured = engine::measure(executor, ids, seconds);
      if (!executor.stopping()) executor.router().calibrate(measured);
      finish(nullptr);
    } catch (const Error& error) {
      finish(&error);
    } catch (const std::exception& error) {
      const Error wrapped("ATTN_INTERNAL", error.what());
      finish(&wrapped);
    }
  });
  return promise;
}

Napi::Value Engine::explain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  const bool on = info[0].ToBoolean();
  std::vector<Explanation> rows;
  on_executor(env, [&] {
    rows = executor.router().explained();
    executor.router().explain(on);
  });
  return to_js(env, rows);
}

Napi::Value Engine::profile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  const bool on = info[0].ToBoolean();
  std::vector<engine::ProfileRow> rows;
  on_executor(env, [&] { rows = executor.profile(on); });
  return to_js(env, rows);
}

Napi::Value Engine::routing(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Executor& executor = this->executor(env);
  auto out = Napi::Object::New(env);
  auto probes = Napi::Object::New(env);
  bool calibrated = false;
  std::map<std::string, std::string> results;
  on_executor(env, [&] {
    calibrated = executor.router().calibrated();
    results = executor.router().probes();
  });
  for (const auto& [variant, failure] : results) probes.Set(variant, failure);
  out.Set("calibrated", calibrated);
  out.Set("path", executor.router().path());
  out.Set("probes", probes);
  return out;
}

Napi::Value Engine::set_route(const Napi::CallbackInfo& info) {
  Executor& executor = this->executor(info.Env());
  executor.post([&executor, route = parse_route(info[0].As<Napi::String>())] { executor.set_route(route); });
  return info.Env().Undefined();
}

Napi::Value Engine::take_messages(const Napi::CallbackInfo& info) {
  Executor& executor = this->executor(info.Env());
  std::vector<std::string> messages;
  on_executor(info.Env(), [&] {
    if (executor.device()) messages = executor.device()->take_messages();
  });
  return strings(info.Env(), messages);
}

Napi::Value Engine::dispose(const Napi::CallbackInfo& info) {
  close(info.Env());
  return info.Env().Undefined();
}

// On the JavaScript thread: settles a promise or passes a warning on.
void deliver(Napi::Env env, Napi::Function on_warning, Engine* engine, Message* message) {
  const std::unique_ptr<Message> owned(message);
  if (!env) return;
  Napi::HandleScope scope(env);
  try {
    if (!owned->deferred) {
      on_warning.Call({Napi::String::New(env, owned->warning)});
      return;
    }
    engine->finished(env);
    if (owned->error)
      owned->deferred->Reject(to_js(env, *owned->error).Value());
    else
      owned->deferred->Resolve(env.Undefined());
  } catch (const Napi::Error& error) {
    // A worker that is being terminated runs no JavaScript; otherwise it is what the logger threw.
    error.ThrowAsJavaScriptException();
  }
}

}  // namespace attn::node
