// The Engine class of JavaScript: an executor, and the promises and warnings that come back from it.
//
// Threads: everything here runs on the JavaScript thread of its environment, except the closures handed to
// the executor, which touch no Node-API object but through the thread-safe function.
#pragma once

#include <napi.h>

#include <memory>
#include <set>

#include "../engine/executor.h"

namespace attn::node {

// What comes back from the executor thread.
struct Message {
  std::unique_ptr<Napi::Promise::Deferred> deferred;       // null: a warning
  std::vector<Napi::Reference<Napi::TypedArray>> targets;  // kept alive until the reads are done
  std::unique_ptr<Error> error;
  std::string warning;
};

class Engine;
void deliver(Napi::Env env, Napi::Function on_warning, Engine* engine, Message* message);
using Channel = Napi::TypedThreadSafeFunction<Engine, Message, deliver>;

class Engine : public Napi::ObjectWrap<Engine> {
 public:
  // `running` holds the engines of the environment that run: shutDown() ends them all.
  static Napi::Function constructor(Napi::Env env, std::set<Engine*>& running);

  explicit Engine(const Napi::CallbackInfo& info);
  ~Engine() override { close(Env()); }

  // Joins the executor: what it had not begun finishes with ATTN_DISPOSED.
  void close(Napi::Env env);
  // One promise was settled.
  void finished(Napi::Env env);

 private:
  using Executor = engine::Executor;
  using Submission = engine::Submission;

  static void on_exit(void* self) { static_cast<Engine*>(self)->shut_down(); }

  static engine::Route parse_route(const std::string& route);
  void shut_down();
  Executor& executor(Napi::Env env);

  // A promise, and the closure that settles it from the executor thread. While it is open the process stays
  // alive.
  std::pair<Napi::Value, std::function<void(const Error*)>> promise_for(
      Napi::Env env, std::vector<Napi::Reference<Napi::TypedArray>> kept);

  // Runs `task` on the executor thread, after all submitted work, and waits for it.
  template <class F>
  void on_executor(Napi::Env env, F&& task);

  Napi::Value caps(const Napi::CallbackInfo& info);

  // (number, description): blocks from the next one on name the prepared op by this number.
  Napi::Value prepare(const Napi::CallbackInfo& info);

  // Copies a typed array into a host block that an `adopt` instruction of the next block refers to.
  Napi::Value upload(const Napi::CallbackInfo& info);

  // (words: Int32Array, count, targets: TypedArray[] | undefined, barrier, externalDelta)
  Submission submission_from(const Napi::CallbackInfo& info,
                             std::vector<Napi::Reference<Napi::TypedArray>>* keep);

  // Returns a promise when the block reads or is a barrier; it settles when the whole block has run.
  Napi::Value submit(const Napi::CallbackInfo& info);

  // As submit(), but waits: dataSync() and its like.
  Napi::Value submit_sync(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);

  // (target: Float64Array) -> promise: the peaks of host and device after all submitted work; new ones begin.
  Napi::Value take_peak(const Napi::CallbackInfo& info);

  // Returns pooled memory to the system and begins a new peak.
  Napi::Value trim(const Napi::CallbackInfo& info);

  // (prepared numbers, seconds) -> promise
  Napi::Value calibrate(const Napi::CallbackInfo& info);

  // (on): begins to collect explanations, or ends and returns them.
  Napi::Value explain(const Napi::CallbackInfo& info);
  Napi::Value profile(const Napi::CallbackInfo& info);
  Napi::Value routing(const Napi::CallbackInfo& info);
  Napi::Value set_route(const Napi::CallbackInfo& info);
  Napi::Value take_messages(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::set<Engine*>& running_;
  Channel channel_;
  std::unique_ptr<Executor> executor_;
  std::deque<engine::Prepared> new_prepared_;
  std::vector<engine::Upload> uploads_;
  uint32_t pending_ = 0;
  bool open_ = true;
};

}  // namespace attn::node
