// Kernels of tokens and labels against float64, on every instruction set; nothing written beside the
// operands.
#include <array>
#include <cmath>
#include <random>

#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

constexpr double f32 = static_cast<double>(DType::f32);

std::vector<float> drawn(size_t n, float low = -3, float high = 3) {
  std::mt19937 engine(static_cast<uint32_t>(n));
  std::uniform_real_distribution<float> draw(low, high);
  std::vector<float> x(n);
  for (float& v : x) v = draw(engine);
  return x;
}

std::vector<int32_t> drawn_ids(size_t n, int32_t size) {
  std::mt19937 engine(static_cast<uint32_t>(n));
  std::vector<int32_t> x(n);
  for (int32_t& v : x) v = static_cast<int32_t>(engine() % static_cast<uint32_t>(size));
  return x;
}

void check_close(const std::vector<float>& got, const std::vector<double>& want) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); i++) {
    CAPTURE(i);
    CHECK(std::abs(got[i] - want[i]) <= 1e-5 * std::max(1.0, std::abs(want[i])));
  }
}

TEST_CASE("cross-entropy of rows, and its gradient") {
  on_each_target([] {
    for (const size_t n : {1, 3, 16, 37, 4099}) {
      CAPTURE(n);
      const size_t rows = 5;
      const double smoothing = 0.1, ignored = n > 1 ? 1 : -1;
      const auto x = drawn(rows * n), g = drawn(rows, 0.5f, 2);
      const auto labels = drawn_ids(rows, static_cast<int32_t>(n));
      std::vector<double> loss(rows), lse(rows), dx(rows * n);
      for (size_t r = 0; r < rows; r++) {
        if (labels[r] == ignored) continue;
        const float* row = x.data() + r * n;
        double sum = 0, total = 0;
        for (size_t v = 0; v < n; v++) sum += std::exp(row[v]), total += row[v];
        lse[r] = std::log(sum);
        loss[r] = lse[r] - (1 - smoothing) * row[labels[r]] - smoothing * total / static_cast<double>(n);
        for (size_t v = 0; v < n; v++) {
          const double target =
              (static_cast<int64_t>(v) == labels[r] ? 1 - smoothing : 0) + smoothing / static_cast<double>(n);
          dx[r * n + v] = (std::exp(row[v]) / sum - target) * g[r];
        }
      }
      const std::vector<double> attrs = {f32, rows, static_cast<double>(n), ignored, smoothing, 2};
      const Buffer logits = buffer_of(x), names = buffer_of(labels);
      const Buffer losses(rows * 4), sums(rows * 4), count(0);
      Attrs packed(attrs);
      const void* in[] = {logits.data(), names.data()};
      void* const out[] = {losses.data(), sums.data(), count.data()};
      find_kernel("cross_entropy")(packed)({in, out});
      CHECK((losses.guards_hold() && sums.guards_hold() && count.guards_hold()));
      const auto values = [&](const Buffer& b) {
        const float* first = static_cast<const float*>(b.data());
        return std::vector<float>(first, first + rows);
      };
      check_close(values(losses), loss);
      check_close(values(sums), lse);
      check_close(run<float>("cross_entropy_backward", attrs,
                             inputs(buffer_of(g), buffer_of(x), buffer_of(labels), buffer_of(values(sums)),
                                    buffer_of(std::vector<int32_t>{})),
                             rows * n),
                  dx);
    }
  });
}

TEST_CASE("rows summed by id") {
  on_each_target([] {
    for (const size_t channels : {1, 7, 33, 130, 256}) {
      CAPTURE(channels);
      const size_t n = 300, rows = 9;
      const auto dy = drawn(n * channels);
      auto ids = drawn_ids(n, rows);
      ids[3] = -1, ids[4] = rows;
      std::vector<double> want(rows * channels);
      for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < channels && i != 3 && i != 4; c++)
          want[static_cast<size_t>(ids[i]) * channels + c] += dy[i * channels + c];
      check_close(run<float>("embedding_backward", {f32, rows, static_cast<double>(channels), n},
                             inputs(buffer_of(dy), buffer_of(ids)), rows * channels),
                  want);
    }
  });
}

TEST_CASE("pairs of channels turned") {
  on_each_target([] {
    for (const size_t half : {1, 3, 8, 16, 21})
      for (const bool interleaved : {false, true})
        for (const bool inverse : {false, true}) {
          CAPTURE(half);
          CAPTURE(interleaved);
          const size_t tokens = 6, heads = 3, turned = 2, channels = 2 * half + 1, places = 8;
          const auto x = drawn(tokens * heads * channels), table = drawn(places * half * 2, -1, 1);
          const auto positions = drawn_ids(tokens, places);
          std::vector<double> want(x.begin(), x.end());
          for (size_t t = 0; t < tokens; t++)
            for (size_t h = 0; h < turned; h++)
              for (size_t i = 0; i < half; i++) {
                const size_t at = (t * heads + h) * channels;
                const size_t a = at + (interleaved ? 2 * i : i),
                             b = at + (interleaved ? 2 * i + 1 : i + half);
                const float* pair = &table[(static_cast<size_t>(positions[t]) * half + i) * 2];
                const double cosine = pair[0], sine = inverse ? -pair[1] : pair[1];
                want[a] = x[a] * cosine - x[b] * sine;
                want[b] = x[b] * cosine + x[a] * sine;
              }
          const std::vector<double> attrs = {f32,
                                             tokens,
                                             tokens,
                                             heads,
                                             static_cast<double>(channels),
                                             turned,
                                             static_cast<double>(2 * half),
                                             places,
                                             1,
                                             static_cast<double>(interleaved),
                                             static_cast<double>(inverse)};
          check_close(run<float>("rope", attrs, inputs(buffer_of(x), buffer_of(table), buffer_of(positions)),
                                 x.size()),
                      want);
        }
  });
}

// As published: Salmon et al., SC11.
std::array<uint32_t, 4> philox_words(std::array<uint32_t, 4> c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const uint64_t p = uint64_t{0xD2511F53u} * c[0], q = uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<uint32_t>(q >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(q),
         static_cast<uint32_t>(p >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p)};
  }
  return c;
}

TEST_CASE("elements dropped by their random words") {
  on_each_target([] {
    for (const size_t n : {1, 5, 64, 1000, 20001}) {
      CAPTURE(n);
      const auto x = drawn(n);
      const std::vector<uint32_t> state = {1, 0xffffffffu, 3, 4};
      const double threshold = 5000001, scale = 1.5;
      std::vector<double> want(n);
      for (size_t i = 0; i < n; i++) {
        const auto words =
            philox_words({static_cast<uint32_t>(i / 4), 0, state[2], state[3]}, state[0], state[1]);
        want[i] = (words[i % 4] >> 8) >= threshold ? x[i] * scale : 0;
      }
      check_close(run<float>("dropout", {f32, static_cast<double>(n), threshold, scale},
                             inputs(buffer_of(x), buffer_of(state)), n),
                  want);
    }
  });
}
}  // namespace
