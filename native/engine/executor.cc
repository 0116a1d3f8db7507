#include "executor.h"

#include <chrono>
#include <cstring>
#include <new>

#include "../cpu/team.h"
#include "self_test.h"

namespace attn::engine {
namespace {

// Whatever a kernel, oneDNN or the driver threw, as an Error that names the op.
std::shared_ptr<const Error> describe_failure(const std::string& op) {
  try {
    throw;
  } catch (const Error& e) {
    auto copy = std::make_shared<Error>(e);
    if (copy->op.empty()) copy->op = op;
    if (copy->hint.empty() && copy->code == "ATTN_OUT_OF_MEMORY")
      copy->hint = "dispose tensors or use smaller batches";
    return copy;
  } catch (const std::bad_alloc&) {
    auto error = std::make_shared<Error>("ATTN_OUT_OF_MEMORY", "the system refused host memory");
    error->op = op;
    return error;
  } catch (const std::exception& e) {
    auto error = std::make_shared<Error>("ATTN_INTERNAL", e.what());
    error->op = op;
    return error;
  }
}

std::shared_ptr<const Error> disposed() {
  return std::make_shared<Error>("ATTN_DISPOSED", "the runtime was disposed",
                                 "await what it runs before its end");
}

}  // namespace

Executor::Executor(ExecutorOptions options)
    : options_(std::move(options)),
      route_(options_.route),
      pool_(options_.host_budget, options_.host_budget / 4),
      device_(options_.device ? vulkan::Device::open({.index = *options_.device,
                                                      .validate = options_.validate,
                                                      .cache_folder = options_.cache_folder,
                                                      .memory_budget = options_.device_budget,
                                                      .pool_limit = 0,
                                                      .warn = options_.warn})
                              : nullptr),
      buffers_(pool_, device_.get()),
      router_(device_ ? &device_->caps() : nullptr, options_.cache_folder, options_.version, options_.threads,
              options_.warn),
      thread_([this] { main(); }) {}

void Executor::submit(Submission submission) {
  post([this, shared = std::make_shared<Submission>(std::move(submission))] { run(*shared); });
}

void Executor::post(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Executor::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Executor::main() {
  cpu::own_team(options_.threads);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) break;  // stopping: tasks that are queued still run, and end at once
    auto task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
  }
  lock.unlock();
  buffers_.release_all();
  if (fault_) device_->release(fault_);
  device_.reset();  // on the thread that used it
}

void Executor::warn_once(const std::string& key, const std::string& message) {
  if (warned_.insert(key).second) warn(message);
}

void Executor::run(Submission& submission) {
  std::shared_ptr<const Error> failure;
  counters_.blocks++;
  take_prepared(submission);
  if (stopping_) {
    failure = disposed();
    for (auto& u : submission.uploads) pool_.release(u.block);
  } else {
    run_block(submission, failure);
    if (submission.barrier && !failure) failure = std::exchange(unread_failure_, nullptr);
    if (!submission.finished && failure && !unread_failure_)
      unread_failure_ = failure;  // nobody awaits the block
  }
  if (submission.finished) submission.finished(failure.get());
}

void Executor::run_block(Submission& submission, std::shared_ptr<const Error>& failure) {
  size_t next = 0;
  try {
    program_.decode(submission.words, prepared_);
    for (const int32_t id : program_.freed_first) buffers_.release(id);
    choose_sides();
    for (; next < program_.instructions.size(); next++) {
      if (stopping_) throw Error(*disposed());
      const Instruction& instruction = program_.instructions[next];
      try {
        execute(instruction, sides_[next], submission);
      } catch (...) {  // of a read: what ops throw poisons their outputs
        if (!failure) failure = describe_failure("");
      }
      release_after(instruction);
    }
    if (device_) {
      submission.barrier ? device_->finish() : device_->submit();
      end_gpu_interval(submission.barrier);
    }
    if (submission.barrier) check_faults();
  } catch (...) {
    const auto error = describe_failure("");
    interval_.clear();  // it names prepared ops that this block may forget
    abandon(next, error, submission);
    if (!failure) failure = error;
  }
  for (const int32_t number : program_.forgotten) prepared_[number] = Prepared{};
}

// What a block does not get to: later blocks find its outputs failed, not missing.
void Executor::abandon(size_t first, std::shared_ptr<const Error> error, Submission& submission) {
  for (size_t i = first; i < program_.instructions.size(); i++) {
    const Instruction& instruction = program_.instructions[i];
    if (!instruction.prepared && instruction.kind != kRead) execute(instruction, Side::cpu, submission);
    if (const Prepared* p = instruction.prepared) {
      for (size_t k = 0; k < p->outputs.size(); k++)
        buffers_.fail(instruction.operands[p->inputs.size() + k], p->outputs[k].bytes, error);
      if (p->spoils)  // others leave what they would have changed as it was
        for (const uint32_t k : p->updates) buffers_.whole(instruction.operands[k]).failure = error;
    }
    release_after(instruction);
  }
}

void Executor::take_prepared(Submission& submission) {
  for (auto& p : submission.prepared) {
    const uint32_t number = p.number;
    if (number >= prepared_.size()) prepared_.resize(number + 1);
    prepared_[number] = std::move(p);
    router_.add(prepared_[number]);
  }
  submission.prepared.clear();
}

void Executor::execute(const Instruction& instruction, Side side, Submission& submission) {
  if (instruction.prepared) return run_op(instruction, side);
  const int32_t id = instruction.operands[0];
  if (instruction.kind == kAdopt) {
    const Upload& upload = submission.uploads.at(instruction.argument);
    buffers_.adopt(id, upload.block, upload.bytes);
  } else if (instruction.kind == kView) {
    buffers_.view(id, instruction.operands[1], 256 * uint64_t{instruction.argument});
  } else if (instruction.kind == kHeal) {
    buffers_.whole(id).failure = nullptr;
  } else {
    read(id, submission.targets.at(instruction.argument));
  }
}

void Executor::release_after(const Instruction& instruction) {
  for (int32_t f = instruction.frees; f >= 0; f = program_.freed[f].next)
    buffers_.release(program_.freed[f].buffer);
}

void Executor::read(int32_t id, const ReadTarget& target) {
  const Buffer& b = buffers_.whole(id);
  if (!b.exists) throw Error("ATTN_INTERNAL", "read of a buffer that does not exist");
  if (b.failure) {
    if (unread_failure_ == b.failure) unread_failure_ = nullptr;
    throw Error(*b.failure);
  }
  const uint64_t offset = buffers_.offset(id), bytes = std::min(target.bytes, b.bytes - offset);
  if (bytes == 0) return;
  if (!b.on_host && !device_->mapped(b.memory)) {
    device_->download(b.memory, offset, target.data, bytes);
    counters_.downloads++;
  } else {
    if (!b.on_host) counters_.downloads++;
    std::memcpy(target.data, buffers_.to_host(id), bytes);
  }
  if (device_) end_gpu_interval(true);
  check_faults();
}

void Executor::run_op(const Instruction& instruction, Side side) {
  Prepared& p = *instruction.prepared;
  const auto inputs = instruction.operands.first(p.inputs.size());
  const auto outputs = instruction.operands.subspan(p.inputs.size());
  std::shared_ptr<const Error> failure;
  for (const int32_t id : inputs)
    if (!failure) failure = buffers_.whole(id).failure;
  if (failure && p.spoils)
    for (const uint32_t i : p.updates) buffers_.whole(inputs[i]).failure = failure;
  if (!failure) {
    begun_ = false;
    try {
      return run_on(side, p, instruction.operands);
    } catch (...) {
      failure = describe_failure(p.op);
      if (!unread_failure_) unread_failure_ = failure;
      if (begun_)  // half-changed, perhaps; where there was no room to begin, what it updates is whole
        for (const uint32_t i : p.updates) buffers_.whole(inputs[i]).failure = failure;
    }
  }
  for (size_t i = 0; i < outputs.size(); i++) buffers_.fail(outputs[i], p.outputs[i].bytes, failure);
}

void Executor::run_on(Side side, Prepared& p, std::span<const int32_t> operands) {
  std::chrono::steady_clock::time_point start;
  if (profile_) start = std::chrono::steady_clock::now();
  if (side == Side::gpu) {
    note_gpu_op(p);
    run_on_gpu(p, operands, router_.model().seconds(p.work, Side::gpu));
    if (profile_) {
      device_->finish();
      interval_clean_ = false;  // waits that ops without a profile do not have
    }
  } else {
    interval_clean_ = false;
    run_on_cpu(p, operands);
  }
  if (profile_)
    profile_->add(p, side, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}

void Executor::note_gpu_op(Prepared& p) {
  if (route_ != Route::automatic) return;
  if (interval_.empty()) {
    interval_start_ = std::chrono::steady_clock::now();
    interval_clean_ = true;
  }
  if (p.runs[static_cast<size_t>(Side::gpu)]++ == 0) interval_clean_ = false;  // its pipeline is compiled now
  interval_.push_back(&p);
}

// What a batch of GPU ops took, shared out in proportion to the estimates: the model learns from what ran
// without a time stamp around every launch. Batches that held anything else teach nothing.
void Executor::end_gpu_interval(bool finished) {
  if (interval_.empty()) return;
  if (finished && interval_clean_) {
    CostModel& model = router_.model();
    const double elapsed =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - interval_start_).count() -
        model.transfer(Direction::download, 0);
    double expected = 0;
    for (const Prepared* p : interval_) expected += model.seconds(p->work, Side::gpu);
    if (elapsed > 0 && expected > 0) {
      const double scale = elapsed / expected;
      std::vector<std::pair<const Prepared*, double>> seen;  // before any estimate moves
      for (const Prepared* p : interval_)
        if (seen.empty() || seen.back().first != p)
          seen.emplace_back(p, scale * model.seconds(p->work, Side::gpu));
      for (const auto& [p, seconds] : seen) router_.observe(*p, Side::gpu, seconds);
    }
  }
  interval_.clear();
}

void Executor::run_on_cpu(Prepared& p, std::span<const int32_t> operands) {
  if (!p.run) {
    const auto factory = cpu::find_kernel(p.kernel);
    if (!factory) throw Error("ATTN_INTERNAL", "no CPU kernel is called '" + p.kernel + "'");
    cpu::Attrs attrs(p.attrs);
    p.run = factory(attrs);
  }
  in_.clear();
  out_.clear();
  for (size_t i = 0; i < p.inputs.size(); i++) {
    if (!buffers_.whole(operands[i]).on_host) counters_.downloads++;
    in_.push_back(p.changes(i) ? buffers_.change_on_host(operands[i]) : buffers_.to_host(operands[i]));
  }
  for (size_t i = 0; i < p.outputs.size(); i++)
    out_.push_back(buffers_.create_on_host(operands[p.inputs.size() + i], p.outputs[i].bytes));
  for (const uint32_t i : p.updates) out_.push_back(const_cast<void*>(in_[i]));
  counters_.ops_cpu++;
  begun_ = true;
  if (route_ == Route::automatic && device_ && router_.wants_timing(p, Side::cpu)) {
    const auto start = std::chrono::steady_clock::now();
    p.run({in_, out_});
    router_.observe(p, Side::cpu,
                    std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  } else {
    p.run({in_, out_});
  }
}

void Executor::run_on_gpu(Prepared& p, std::span<const int32_t> operands, double seconds, bool spoil) {
  for (auto& d : p.dispatches)
    if (!d.pipeline) d.pipeline = device_->pipeline(d.shader, d.spec);
  memories_.clear();
  for (size_t i = 0; i < p.inputs.size(); i++) {
    if (!buffers_.whole(operands[i]).on_device) {
      counters_.uploads++;
      interval_clean_ = false;
    }
    memories_.push_back(p.changes(i) ? buffers_.change_on_device(operands[i])
                                     : buffers_.to_device(operands[i]));
  }
  for (size_t i = 0; i < p.outputs.size(); i++)
    memories_.push_back(buffers_.create_on_device(operands[p.inputs.size() + i], p.outputs[i].bytes));
  if (spoil)
    for (size_t i = 0; i < p.outputs.size(); i++) {
      const std::vector<char> junk(p.outputs[i].bytes, 0x7f);  // 3.4e38, a NaN of halves, 2139062143
      device_->upload(memories_[p.inputs.size() + i], 0, junk.data(), junk.size());
    }
  const size_t scratch_first = memories_.size();
  counters_.ops_gpu++;
  try {
    for (const uint64_t bytes : p.scratch) memories_.push_back(device_->allocate(bytes));
    begun_ = true;
    for (const auto& d : p.dispatches) {
      bindings_.clear();
      for (const auto& b : d.binds) {
        if (b.operand == kFaultOperand) {
          if (!fault_) {
            fault_ = device_->allocate(256);
            const uint32_t zeros[64] = {};
            device_->upload(fault_, 0, zeros, sizeof zeros);
          }
          fault_op_ = p.op;
          bindings_.push_back({fault_, 0, 256, true});
          continue;
        }
        vulkan::Memory* memory = memories_.at(b.operand);
        const uint64_t padded = b.operand < p.inputs.size() ? p.inputs[b.operand].bytes
                                : b.operand < scratch_first ? p.outputs[b.operand - p.inputs.size()].bytes
                                                            : p.scratch[b.operand - scratch_first];
        const uint64_t whole = std::max<uint64_t>(64, (padded + 63) / 64 * 64);
        const uint64_t view = b.operand < p.inputs.size() ? buffers_.offset(operands[b.operand]) : 0;
        bindings_.push_back({memory, view + b.offset, b.whole ? whole : b.bytes, b.write});
      }
      device_->dispatch(d.pipeline, bindings_, d.push, d.groups, seconds / p.dispatches.size());
    }
  } catch (...) {
    while (memories_.size() > scratch_first) device_->release(memories_.back()), memories_.pop_back();
    throw;
  }
  while (memories_.size() > scratch_first) device_->release(memories_.back()), memories_.pop_back();
}

// Kernels that follow indices yield 0 for one that is out of range and leave {1, index, its position} in the
// fault words.
void Executor::check_faults() {
  if (!fault_ || fault_op_.empty()) return;
  uint32_t words[3];
  device_->download(fault_, 0, words, sizeof words);
  const std::string op = std::exchange(fault_op_, {});
  if (words[0] == 0) return;
  const uint32_t zeros[2] = {};
  device_->upload(fault_, 0, zeros, sizeof zeros);
  Error error("ATTN_INDEX",
              "index " + std::to_string(static_cast<int32_t>(words[1])) + " at position " +
                  std::to_string(words[2]) + " is out of range",
              "indices run from 0 to the size of what they point into, less 1");
  error.op = op;
  throw error;
}

bool Executor::trusted(Prepared& p) {
  if (p.probed) return true;
  if (!p.work.gpu_possible) return false;
  auto result = p.probe < 0 ? std::optional<std::string>("") : router_.probe_result(p.variant);
  if (!result) {
    try {
      result = self_test(*this, prepared_.at(p.probe), p.probe_tolerance);
    } catch (const Error& error) {
      // Says nothing of the kernel. Where the device is gone, the op itself reports it.
      if (error.code == "ATTN_DEVICE_LOST") return true;
      warn_once("untested:" + p.variant,
                "there is no room to test " + p.variant + ", so it runs on the CPU: " + error.what());
      return false;
    }
    router_.record_probe(p.variant, *result);
  }
  if (!result->empty()) {
    p.work.gpu_possible = false;
    p.gpu_reason = "the variant " + p.variant + " fails its self-test on this driver";
    warn_once("probe:" + p.variant, p.gpu_reason + " (" + *result + "); it runs on the CPU instead");
  }
  return p.probed = result->empty();
}

void Executor::choose_sides() {
  router_.choose(program_, buffers_, route_, sides_);
  if (!device_ || route_ == Route::cpu) return;
  for (size_t i = 0; i < sides_.size(); i++) {
    Prepared* p = program_.instructions[i].prepared;
    if (!p) continue;
    if (sides_[i] == Side::gpu && !trusted(*p)) sides_[i] = Side::cpu;
    if (sides_[i] == Side::cpu && route_ == Route::gpu && !p->gpu_reason.empty())
      warn_once(
          "gpu:" + p->op + p->gpu_reason,
          p->op + " (" + p->problem + ") runs on the CPU although the route is 'gpu': " + p->gpu_reason);
  }
}

}  // namespace attn::engine
