#include "program.h"

namespace attn::engine {

void Program::decode(std::span<const int32_t> words, std::deque<Prepared>& prepared) {
  instructions.clear();
  freed.clear();
  freed_first.clear();
  forgotten.clear();
  std::fill(last_use_.begin(), last_use_.end(), -1);

  const auto check = [](bool ok) {
    if (!ok) throw Error("ATTN_INTERNAL", "malformed instruction block");
  };
  const auto touch = [&](int32_t buffer) {
    check(buffer >= 0);
    if (static_cast<size_t>(buffer) >= last_use_.size()) last_use_.resize(buffer + 64, -1);
    last_use_[buffer] = static_cast<int32_t>(instructions.size());
  };

  for (size_t at = 0; at < words.size();) {
    const int32_t word = words[at++];
    Instruction next;
    if (word >= 0) {
      check(static_cast<size_t>(word) < prepared.size());
      next.prepared = &prepared[word];
      const size_t operands = next.prepared->inputs.size() + next.prepared->outputs.size();
      check(at + operands <= words.size());
      next.operands = words.subspan(at, operands);
      at += operands;
      for (const int32_t buffer : next.operands) touch(buffer);
    } else if (word == kFree) {
      check(at < words.size());
      const int32_t buffer = words[at++];
      check(buffer >= 0);
      const int32_t user = static_cast<size_t>(buffer) < last_use_.size() ? last_use_[buffer] : -1;
      if (user < 0) {
        freed_first.push_back(buffer);
      } else {
        freed.push_back({buffer, instructions[user].frees});
        instructions[user].frees = static_cast<int32_t>(freed.size()) - 1;
        last_use_[buffer] = -1;  // the number may name another buffer from here on
      }
      continue;
    } else if (word == kForget) {
      check(at < words.size() && words[at] >= 0 && static_cast<size_t>(words[at]) < prepared.size());
      forgotten.push_back(words[at++]);
      continue;
    } else {
      check((word == kAdopt || word == kRead) && at + 2 <= words.size());
      next.kind = word;
      next.operands = words.subspan(at, 1);
      next.argument = static_cast<uint32_t>(words[at + 1]);
      at += 2;
      touch(next.operands[0]);
    }
    instructions.push_back(next);
  }
}

}  // namespace attn::engine
