// Where the time of recorded work goes, by problem and side. While a profile is being taken every op is
// waited for, so that the GPU's time is seen too: shares are true, the total is not that of a run without
// one.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "prepared.h"

namespace attn::engine {

struct ProfileRow {
  std::string op, problem;
  Side side = Side::cpu;
  uint64_t count = 0;
  double seconds = 0, flops = 0, bytes = 0;
};

class Profile {
 public:
  void add(const Prepared& p, Side side, double seconds) {
    ProfileRow& row = rows_[{p.op, p.problem, side}];
    if (row.count == 0) row = {.op = p.op, .problem = p.problem, .side = side};
    row.count++;
    row.seconds += seconds;
    row.flops += p.flops;
    row.bytes += p.bytes;
  }
  std::vector<ProfileRow> rows() const {
    std::vector<ProfileRow> out;
    for (const auto& [key, row] : rows_) out.push_back(row);
    return out;
  }

 private:
  // By name: a prepared op's number is given to another once it is forgotten.
  std::map<std::tuple<std::string, std::string, Side>, ProfileRow> rows_;
};

}  // namespace attn::engine
