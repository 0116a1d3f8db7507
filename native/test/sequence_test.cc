// Kernels that walk sequences otherwise than attention does: every instruction set gives what the best one
// gives, which the ops' conformance compares with float64; the same for any team; nothing written beside the
// operands; nothing of later tokens in what earlier ones read.
#include <omp.h>

#include <cmath>
#include <random>

#include "kernels.h"

namespace {
using namespace attn;
using namespace attn::cpu;
using namespace attn::cpu::test;

struct Operand {
  int64_t size;
  DType dtype;
  float low = -1, high = 1;
};

using Results = std::vector<std::vector<float>>;

// A call of a kernel on numbers that bfloat16 holds.
struct Call {
  const char* name;
  std::vector<double> attrs;
  std::vector<Operand> in, out;
  bool any_team = true;  // the same bits on a team of any size, not only nearly

  Buffer draw(const Operand& x, unsigned seed) const {
    std::mt19937 engine(seed);
    std::uniform_real_distribution<float> among(x.low, x.high);
    if (x.dtype == DType::boolean) {
      std::vector<uint8_t> flags(static_cast<size_t>(x.size));
      for (uint8_t& y : flags) y = among(engine) > -0.7f;
      return buffer_of(flags);
    }
    return with_float(x.dtype, [&](auto t) {
      std::vector<decltype(t)> y(static_cast<size_t>(x.size));
      for (auto& e : y) e = from_f32<decltype(t)>(to_f32(from_f32<BFloat>(among(engine))));
      return buffer_of(y);
    });
  }

  // `spoil` changes operands before the kernel runs.
  template <class F>
  Results run(F&& spoil) const {
    std::vector<Buffer> inputs, outputs;
    std::vector<const void*> from;
    std::vector<void*> to;
    for (const Operand& x : in) inputs.push_back(draw(x, static_cast<unsigned>(inputs.size() + 1)));
    for (const Operand& x : out) outputs.emplace_back(static_cast<size_t>(x.size) * size_of(x.dtype));
    for (const Buffer& b : inputs) from.push_back(b.data());
    for (const Buffer& b : outputs) to.push_back(b.data());
    spoil(inputs);
    Attrs packed(attrs);
    const Factory factory = find_kernel(name);
    REQUIRE_MESSAGE(static_cast<bool>(factory), name);
    factory(packed)({from, to});
    Results all;
    for (size_t i = 0; i < out.size(); i++) {
      CHECK(outputs[i].guards_hold());
      with_float(out[i].dtype, [&](auto t) {
        const auto* const at = static_cast<const decltype(t)*>(outputs[i].data());
        all.emplace_back();
        for (int64_t n = 0; n < out[i].size; n++) all.back().push_back(to_f32(at[n]));
      });
    }
    return all;
  }
  Results run() const {
    return run([](const std::vector<Buffer>&) {});
  }
};

constexpr DType kF32 = DType::f32;
double code(DType t) { return static_cast<double>(t); }

// Heads whose last block of frequencies is not full, two copies of each.
struct Holo {
  static constexpr int64_t B = 2, T = 70, H = 2, R = 2, F = 21, S = (2 * R + 1) * F;
  static constexpr int64_t qkv = B * T * (2 * R + 1) * H * 2 * F, o = B * T * H * 2 * F,
                           decay = B * T * H * F;
  static std::vector<double> attrs(DType t) { return {code(t), B, T, H, R, F, 1, 1, 1}; }
};
Call holo(DType t) {
  using X = Holo;
  const Operand state{X::B * X::H * X::S, kF32, 0.5f, 2}, starts{X::B * 3 * X::H * X::S, kF32};
  const Operand decay{X::decay, kF32, -0.5f, 0}, keep{X::B * X::T, DType::boolean};
  return {"holo_attention", X::attrs(t), {{X::qkv, t}, decay, keep, state}, {{X::o, t}, state, starts}};
}
Call holo_backward(DType t) {
  using X = Holo;
  const Operand state{X::B * X::H * X::S, kF32}, starts{X::B * 3 * X::H * X::S, kF32, 0.5f, 2};
  const Operand decay{X::decay, kF32, -0.5f, 0}, keep{X::B * X::T, DType::boolean};
  return {"holo_attention_backward",
          X::attrs(t),
          {{X::o, t}, {X::qkv, t}, starts, state, decay, keep},
          {{X::qkv, t}, decay, state}};
}

// One head, long enough to be cut along time; rows that end within vectors.
struct Linear {
  static constexpr int64_t T = 803, Dk = 20, Dv = 37, state = Dk * Dv;
  static std::vector<double> attrs(DType t) { return {code(t), 1, T, 1, Dk, Dv, 1, 1}; }
};
Call linear(DType t) {
  using X = Linear;
  const Operand key{X::T * X::Dk, t}, value{X::T * X::Dv, t}, state{X::state, kF32};
  const Operand decay{X::T * X::Dk, kF32, -0.5f, 0};
  return {"linear_attention", X::attrs(t), {key, key, value, state, decay}, {value, state}, false};
}
Call linear_backward(DType t) {
  using X = Linear;
  const Operand key{X::T * X::Dk, t}, value{X::T * X::Dv, t}, state{X::state, kF32};
  const Operand decay{X::T * X::Dk, kF32, -0.5f, 0};
  return {"linear_attention_backward",
          X::attrs(t),
          {value, state, key, key, value, state, decay},
          {key, key, value, state, decay},
          false};
}

// Two query heads to one of keys, cut into tasks, windows that no tile divides.
struct Simplicial {
  static constexpr int64_t B = 2, T = 101, Hq = 2, D = 22, query = B * T * Hq * D, key = B * T * D;
  static std::vector<double> attrs(DType t, int score) {
    return {code(t), double(score), B, T, T, Hq, 1, D, 37, 9, 0.2, 1, 1, 1};
  }
};
Call simplicial(DType t, int score) {
  using X = Simplicial;
  const Operand q{X::query, t}, k{X::key, t}, stat{X::B * X::Hq * X::T, kF32};
  return {"simplicial", X::attrs(t, score), {q, k, k, k, k, {X::B * X::T, DType::boolean}}, {q, stat, stat}};
}
Call simplicial_backward(DType t, int score) {
  using X = Simplicial;
  const Operand q{X::query, t}, k{X::key, t}, lse{X::B * X::Hq * X::T, kF32, 3, 5};
  return {"simplicial_backward",
          X::attrs(t, score),
          {q, q, k, k, k, k, q, lse, {X::B * X::T, DType::boolean}},
          {q, k, k, k, k}};
}

struct Product {
  static constexpr int64_t tokens = 90, heads = 3, D = 21, a = heads * 5, b = (2 + heads + 3) * D, y = 9 * D;
  static std::vector<double> attrs(DType t) { return {code(t), tokens, heads, D, 3, 2, 0, 3}; }
};
Call tensor_product(DType t) {
  using X = Product;
  return {
      "tensor_product", X::attrs(t), {{X::tokens * X::a, t}, {X::tokens * X::b, t}}, {{X::tokens * X::y, t}}};
}
Call tensor_product_backward(DType t) {
  using X = Product;
  const Operand a{X::tokens * X::a, t}, b{X::tokens * X::b, t};
  return {"tensor_product_backward", X::attrs(t), {{X::tokens * X::y, t}, a, b}, {a, b}};
}

std::vector<Call> calls() {
  std::vector<Call> all;
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) {
    for (const auto make :
         {holo, holo_backward, linear, linear_backward, tensor_product, tensor_product_backward})
      all.push_back(make(t));
    for (const int score : {0, 1})
      all.push_back(simplicial(t, score)), all.push_back(simplicial_backward(t, score));
  }
  return all;
}

void check_near(const Results& got, const Results& want, DType dtype) {
  const double bound = dtype == DType::f32 ? 1e-4 : dtype == DType::f16 ? 4e-3 : 3e-2;
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); i++) {
    CAPTURE(i);
    double most = 0;
    for (size_t n = 0; n < got[i].size(); n++) {
      if (got[i][n] == want[i][n]) continue;
      const double error = std::fabs(double{got[i][n]} - want[i][n]) / std::max(1.0f, std::fabs(want[i][n]));
      most = error <= most ? most : error;  // NaN counts
    }
    CHECK(most < bound);
  }
}
}  // namespace

TEST_CASE("kernels of sequences are the same on each instruction set and on a team of any size") {
  for (const Call& call : calls()) {
    CAPTURE(call.name);
    CAPTURE(call.attrs[0]);
    const auto dtype = static_cast<DType>(static_cast<int>(call.attrs[0]));
    const Results best = call.run();
    on_each_target([&] { check_near(call.run(), best, dtype); });
    const int before = omp_get_max_threads();
    for (const int threads : {1, 3, 5}) {
      CAPTURE(threads);
      omp_set_num_threads(threads);
      const Results got = call.run();
      if (call.any_team)
        CHECK(got == best);
      else
        check_near(got, best, dtype);
    }
    omp_set_num_threads(before);
  }
}

TEST_CASE("tokens read nothing of later ones, to the bit") {
  // Of each kernel: where its rows [B, T, row] are among the operands, and how long each is.
  struct Rows {
    Call call;
    int64_t B, T, out;
    std::vector<std::pair<size_t, int64_t>> in;
  };
  for (const DType t : {DType::f32, DType::bf16})
    for (const Rows& rows :
         {Rows{holo(t),
               Holo::B,
               Holo::T,
               Holo::H * 2 * Holo::F,
               {{0, (2 * Holo::R + 1) * Holo::H * 2 * Holo::F}}},
          Rows{linear(t), 1, Linear::T, Linear::Dv, {{0, Linear::Dk}, {1, Linear::Dk}, {2, Linear::Dv}}},
          Rows{simplicial(t, 0),
               Simplicial::B,
               Simplicial::T,
               Simplicial::Hq * Simplicial::D,
               {{0, Simplicial::Hq * Simplicial::D},
                {1, Simplicial::D},
                {2, Simplicial::D},
                {3, Simplicial::D},
                {4, Simplicial::D}}}}) {
      CAPTURE(rows.call.name);
      on_each_target([&] {
        const Results clean = rows.call.run();
        for (const int64_t from : {int64_t{1}, int64_t{33}, rows.T - 2}) {
          CAPTURE(from);
          const Results spoilt = rows.call.run([&](const std::vector<Buffer>& inputs) {
            for (const auto& [at, row] : rows.in)
              with_float(t, [&, at = at, row = row](auto type) {
                auto* const x = static_cast<decltype(type)*>(inputs[at].data());
                for (int64_t n = 0; n < rows.B * rows.T * row; n++)
                  if (n / row % rows.T >= from) x[n] = from_f32<decltype(type)>(50 + 3 * to_f32(x[n]));
              });
          });
          int64_t changed = 0;
          for (int64_t n = 0; n < rows.B * rows.T * rows.out; n++) {
            const auto at = static_cast<size_t>(n);
            if (n / rows.out % rows.T >= from)
              changed += clean[0][at] != spoilt[0][at];
            else if (clean[0][at] != spoilt[0][at])
              FAIL_CHECK(n);
          }
          CHECK(changed > 0);
        }
      });
    }
}
