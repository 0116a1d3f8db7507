#include "blocks.h"

namespace attn::cpu {

std::vector<std::vector<Block>> cut_rows(int64_t rows, int64_t most, int64_t grain) {
  const int64_t threads = std::clamp<int64_t>(rows / std::max<int64_t>(1, grain), 1, team_size());
  const int64_t share = (rows + threads - 1) / threads;
  const int64_t pieces = (share + most - 1) / most;
  const int64_t size = pieces == 1 ? share : std::min(most, ((share + pieces - 1) / pieces + 15) / 16 * 16);
  std::vector<std::vector<Block>> blocks(static_cast<size_t>(threads));
  for (int64_t t = 0; t < threads; ++t) {
    const int64_t end = std::min(rows, (t + 1) * share);
    for (int64_t first = t * share; first < end; first += size)
      blocks[static_cast<size_t>(t)].push_back({first, std::min(size, end - first)});
  }
  return blocks;
}

}  // namespace attn::cpu
