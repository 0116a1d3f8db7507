// The executor: one thread that runs instruction blocks in order on the CPU team and the Vulkan stream.
//
// The JavaScript thread calls the methods in the first group; none of them waits except stop(). Everything
// else belongs to the executor thread. An op that fails poisons its outputs, and what it updates if it had
// begun: whoever reads them gets the error, and the runtime goes on.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "profile.h"
#include "program.h"
#include "residency.h"
#include "router.h"

namespace attn::engine {

struct ExecutorOptions {
  std::optional<uint32_t> device;  // index in vulkan::survey().devices; none: CPU alone
  bool validate = false;
  Route route = Route::automatic;
  int threads = 1;
  uint64_t host_budget = 0, device_budget = 0;
  std::string cache_folder;
  std::string version;  // of the package: what was learnt under another one does not count
  std::function<void(const std::string&)> warn;  // called on the executor thread
};

struct ReadTarget {
  void* data;
  uint64_t bytes;
};

struct Upload {
  HostBlock block;
  uint64_t bytes;
};

struct Submission {
  std::vector<int32_t> words;
  std::vector<Upload> uploads;
  std::deque<Prepared> prepared;  // new since the last block
  std::vector<ReadTarget> targets;
  bool barrier = false;                        // sync(): waits for the device, reports failures nobody read
  std::function<void(const Error*)> finished;  // called on the executor thread; null error: success
};

// Counters that a fixed workload repeats exactly; read from any thread.
struct Counters {
  std::atomic<uint64_t> blocks{0}, ops_cpu{0}, ops_gpu{0}, uploads{0}, downloads{0};
};

class Executor {
 public:
  explicit Executor(ExecutorOptions);
  ~Executor() { stop(); }

  HostPool& pool() { return pool_; }
  const Counters& counters() const { return counters_; }
  const vulkan::Caps* caps() const { return device_ ? &device_->caps() : nullptr; }
  void submit(Submission);
  // Runs on the executor thread after everything submitted so far.
  void post(std::function<void()> task);
  // Abandons queued work and joins the thread. What was not begun finishes with ATTN_DISPOSED.
  void stop();

  // ---- executor thread ----
  bool stopping() const { return stopping_; }
  vulkan::Device* device() { return device_.get(); }
  Residency& buffers() { return buffers_; }
  Prepared& prepared(int32_t id) { return prepared_.at(id); }
  void set_route(Route route) { route_ = route; }
  Route route() const { return route_; }
  void run_on_cpu(Prepared&, std::span<const int32_t> operands);
  // `spoil` fills the outputs with what no kernel writes: one that leaves elements out is found by that.
  void run_on_gpu(Prepared&, std::span<const int32_t> operands, double seconds, bool spoil = false);
  // The op's GPU variant agrees with the CPU on this driver: tested once, remembered in the cache folder.
  bool trusted(Prepared&);
  Router& router() { return router_; }
  // Begins or ends a profile; what was seen since the last beginning.
  std::vector<ProfileRow> profile(bool on) {
    auto rows = profile_ ? profile_->rows() : std::vector<ProfileRow>();
    profile_ = on ? std::make_unique<Profile>() : nullptr;
    return rows;
  }
  void warn(const std::string& message) const {
    if (options_.warn) options_.warn(message);
  }
  void warn_once(const std::string& key, const std::string& message);

 private:
  void main();
  void run(Submission&);
  void run_block(Submission&, std::shared_ptr<const Error>& failure);
  void abandon(size_t first, std::shared_ptr<const Error>, Submission&);
  void execute(const Instruction&, Side, Submission&);
  void run_op(const Instruction&, Side);
  void run_on(Side, Prepared&, std::span<const int32_t> operands);
  void release_after(const Instruction&);
  void read(int32_t buffer, const ReadTarget&);
  void take_prepared(Submission&);
  void note_gpu_op(Prepared&);
  void end_gpu_interval(bool finished);
  void choose_sides();
  void check_faults();

  ExecutorOptions options_;
  Route route_;
  HostPool pool_;
  std::unique_ptr<vulkan::Device> device_;
  Residency buffers_;
  Router router_;
  Counters counters_;

  std::deque<Prepared> prepared_;
  Program program_;
  std::unique_ptr<Profile> profile_;  // while one is being taken
  std::vector<Side> sides_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
  std::vector<vulkan::Memory*> memories_;
  std::vector<vulkan::Binding> bindings_;
  bool begun_ = false;                           // the op that runs: it may have written something
  std::shared_ptr<const Error> unread_failure_;  // first failure that no read has reported
  vulkan::Memory* fault_ = nullptr;
  std::string fault_op_;  // an op since the last check that may have written fault words
  std::unordered_set<std::string> warned_;

  // GPU ops since the device was last idle: timed together when the next read waits for them.
  std::vector<Prepared*> interval_;
  std::chrono::steady_clock::time_point interval_start_;
  bool interval_clean_ = false;  // nothing but warm GPU ops happened meanwhile

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace attn::engine
