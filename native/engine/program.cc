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
  const auto holder_of = [&](int32_t buffer) {
    const int32_t parent = static_cast<size_t>(buffer) < parent_.size() ? parent_[buffer] : -1;
    return parent < 0 ? buffer : parent;
  };
  // Notes the uses of an instruction's operands; a view's use is one of its parent.
  holders_.resize(words.size());
  const auto use = [&](Instruction& next) {
    const size_t first = static_cast<size_t>(next.operands.data() - words.data());
    next.holders = holders_.data() + first;
    for (size_t k = 0; k < next.operands.size(); k++) {
      touch(next.operands[k]);
      touch(holders_[first + k] = holder_of(next.operands[k]));
    }
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
      use(next);
    } else if (word == kFree) {
      check(at < words.size());
      const int32_t buffer = words[at++];
      check(buffer >= 0);
      if (static_cast<size_t>(buffer) < parent_.size()) parent_[buffer] = -1;
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
    } else if (word == kHeal) {
      check(at < words.size() && words[at] >= 0);
      next.kind = word;
      next.operands = words.subspan(at++, 1);
      use(next);
    } else if (word == kView) {
      check(at + 3 <= words.size() && words[at] >= 0 && words[at + 2] >= 0);
      next.kind = word;
      next.operands = words.subspan(at, 2);
      next.argument = static_cast<uint32_t>(words[at + 2]);
      at += 3;
      use(next);
      const int32_t view = next.operands[0];
      if (static_cast<size_t>(view) >= parent_.size()) parent_.resize(view + 64, -1);
      parent_[view] = next.operands[1];
    } else {
      check((word == kAdopt || word == kRead) && at + 2 <= words.size());
      next.kind = word;
      next.operands = words.subspan(at, 1);
      next.argument = static_cast<uint32_t>(words[at + 1]);
      at += 2;
      use(next);
    }
    instructions.push_back(next);
  }
}

}  // namespace attn::engine
