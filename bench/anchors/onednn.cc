// What this machine can do, measured beside us: oneDNN called directly, plain C++ loops, and the ceilings.
//
// Requests are lines on stdin, `<case> <dtype> <size> <runs>`, for example `matmul float32 512 30`; a size is
// `n` (n x n) or `<rows>x<cols>`. Each is answered by one line of JSON:
//   {"case":"matmul","dtype":"float32","size":"512","runs":30,"flops":268435456,"bytes":3145728,"us":[...]}
// or {"case":...,"error":"..."}. `list` answers {"cases":{name:[dtypes]},"threads":n}. A problem keeps its
// operands between requests, so that a runner can interleave A B A B with its own process and both stay warm.
#include <omp.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "cpu/onednn.h"
#include "cpu/team.h"
#include "probes.h"

namespace {

using dnnl::memory;
using Dims = memory::dims;
using Tag = memory::format_tag;

struct Size {
  int64_t rows, cols;
  int64_t count() const { return rows * cols; }
};

// Something to time, and what one run of it does.
struct Work {
  std::function<void()> run;
  double flops = 0, bytes = 0;
};

using Maker = std::function<Work(const std::string& dtype, Size)>;
struct Case {
  std::vector<std::string> dtypes;
  Maker make;
};

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static dnnl::stream s(engine());
  return s;
}

memory::data_type type_of(const std::string& dtype) {
  return dtype == "bfloat16" ? memory::data_type::bf16 : memory::data_type::f32;
}
double bytes_of(const std::string& dtype) { return dtype == "bfloat16" ? 2 : 4; }

// Fresh memory, touched by the team and filled with small numbers.
memory filled(const memory::desc& desc) {
  memory m(desc, engine());
  const size_t bytes = desc.get_size();
  auto* words = static_cast<uint32_t*>(m.get_data_handle());
  const bool half = attn::onednn::type_of(desc) == memory::data_type::bf16;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < static_cast<int64_t>(bytes / 4); ++i) {
    const float x =
        static_cast<float>(static_cast<int>(static_cast<uint32_t>(i) * 2654435761u >> 24) - 128) / 128;
    uint32_t u;
    std::memcpy(&u, &x, 4);
    words[i] = half ? (u >> 16) | (u & 0xffff0000u) : u;
  }
  return m;
}

memory filled(Size s, const std::string& dtype) {
  return filled(memory::desc({s.rows, s.cols}, type_of(dtype), Tag::ab));
}

std::function<void()> execution(const dnnl::primitive& primitive, std::unordered_map<int, memory> args) {
  return [primitive, args = std::move(args)] {
    primitive.execute(stream(), args);
    stream().wait();
  };
}

// C[rows, cols] = A[rows, cols] B[cols, cols]; `packed` lets oneDNN choose B's layout, packed beforehand.
Work matmul(const std::string& dtype, Size s, bool packed) {
  const auto t = type_of(dtype);
  const memory::desc a({s.rows, s.cols}, t, Tag::ab), b({s.cols, s.cols}, t, packed ? Tag::any : Tag::ab);
  const auto pd = attn::onednn::matmul(engine(), a, b, nullptr, a);
  const memory out(a, engine());
  return {execution(dnnl::matmul(pd), {{DNNL_ARG_SRC, filled(a)},
                                       {DNNL_ARG_WEIGHTS, filled(pd.weights_desc())},
                                       {DNNL_ARG_DST, out}}),
          2.0 * s.rows * s.cols * s.cols, bytes_of(dtype) * (2 * s.count() + s.cols * s.cols)};
}

Work binary(const std::string& dtype, Size s, dnnl::algorithm kind) {
  const memory::desc d({s.rows, s.cols}, type_of(dtype), Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::binary::primitive_desc pd(engine(), kind, d, d, d);
#else
  const dnnl::binary::primitive_desc pd(dnnl::binary::desc(kind, d, d, d), engine());
#endif
  return {execution(dnnl::binary(pd),
                    {{DNNL_ARG_SRC_0, filled(d)}, {DNNL_ARG_SRC_1, filled(d)}, {DNNL_ARG_DST, filled(d)}}),
          1.0 * s.count(), 3 * bytes_of(dtype) * s.count()};
}

Work relu(const std::string& dtype, Size s) {
  const memory::desc d({s.rows, s.cols}, type_of(dtype), Tag::ab);
  constexpr auto inference = dnnl::prop_kind::forward_inference;
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::eltwise_forward::primitive_desc pd(engine(), inference, dnnl::algorithm::eltwise_relu, d, d,
                                                 0.0f);
#else
  const dnnl::eltwise_forward::primitive_desc pd({inference, dnnl::algorithm::eltwise_relu, d, 0.0f},
                                                 engine());
#endif
  return {execution(dnnl::eltwise_forward(pd), {{DNNL_ARG_SRC, filled(d)}, {DNNL_ARG_DST, filled(d)}}),
          1.0 * s.count(), 2 * bytes_of(dtype) * s.count()};
}

Work softmax(const std::string& dtype, Size s) {
  const memory::desc d({s.rows, s.cols}, type_of(dtype), Tag::ab);
  constexpr auto inference = dnnl::prop_kind::forward_inference;
  constexpr auto accurate = dnnl::algorithm::softmax_accurate;
#if DNNL_VERSION_MAJOR >= 3
  using Softmax = dnnl::softmax_forward;
  const Softmax::primitive_desc pd(engine(), inference, accurate, d, d, 1);
#else
  using Softmax = dnnl::softmax_v2_forward;
  const Softmax::primitive_desc pd({inference, accurate, d, d, 1}, engine());
#endif
  return {execution(Softmax(pd), {{DNNL_ARG_SRC, filled(d)}, {DNNL_ARG_DST, filled(d)}}), 5.0 * s.count(),
          2 * bytes_of(dtype) * s.count()};
}

Work layer_norm(const std::string& dtype, Size s) {
  const memory::desc d({s.rows, s.cols}, type_of(dtype), Tag::ab);
  const memory::desc row({s.cols}, memory::data_type::f32, Tag::a);
  constexpr auto inference = dnnl::prop_kind::forward_inference;
  const auto flags = dnnl::normalization_flags::use_scale | dnnl::normalization_flags::use_shift;
  using Norm = dnnl::layer_normalization_forward;
#if DNNL_VERSION_MAJOR >= 3
  const Norm::primitive_desc pd(engine(), inference, d, d, 1e-5f, flags);
#else
  const Norm::primitive_desc pd({inference, d, 1e-5f, flags}, engine());
#endif
  return {execution(Norm(pd), {{DNNL_ARG_SRC, filled(d)},
                               {DNNL_ARG_DST, filled(d)},
                               {DNNL_ARG_SCALE, filled(row)},
                               {DNNL_ARG_SHIFT, filled(row)}}),
          8.0 * s.count(), 2 * bytes_of(dtype) * s.count()};
}

Work rowsum(const std::string& dtype, Size s) {
  const memory::desc in({s.rows, s.cols}, type_of(dtype), Tag::ab), out({s.rows, 1}, type_of(dtype), Tag::ab);
  constexpr auto add = dnnl::algorithm::reduction_sum;
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::reduction::primitive_desc pd(engine(), add, in, out, 0.0f, 0.0f);
#else
  const dnnl::reduction::primitive_desc pd({add, in, out, 0.0f, 0.0f}, engine());
#endif
  return {execution(dnnl::reduction(pd), {{DNNL_ARG_SRC, filled(in)}, {DNNL_ARG_DST, filled(out)}}),
          1.0 * s.count(), bytes_of(dtype) * s.count()};
}

// The obvious parallel loops, vectorised by the compiler (probes.h), on the same memory.
Work loop_rowsum(const std::string& dtype, Size s) {
  const memory in = filled(s, dtype), out = filled(Size{s.rows, 1}, dtype);
  return {[=] {
            const auto* x = static_cast<const float*>(in.get_data_handle());
            auto* y = static_cast<float*>(out.get_data_handle());
#pragma omp parallel for schedule(static)
            for (int64_t r = 0; r < s.rows; ++r) y[r] = probe::sum(x + r * s.cols, s.cols);
          },
          1.0 * s.count(), 4.0 * s.count()};
}

// One contiguous range per thread, at 64-byte boundaries.
template <class F>
void over_team(int64_t n, F&& fn) {
#pragma omp parallel
  {
    const int64_t chunk = ((n + omp_get_num_threads() - 1) / omp_get_num_threads() + 15) / 16 * 16;
    const int64_t begin = std::min(n, omp_get_thread_num() * chunk);
    fn(begin, std::min(n, begin + chunk) - begin);
  }
}

Work loop_add(const std::string& dtype, Size s, bool streaming) {
  const memory a = filled(s, dtype), b = filled(s, dtype), c = filled(s, dtype);
  return {[=] {
            const auto *x = static_cast<const float*>(a.get_data_handle()),
                       *y = static_cast<const float*>(b.get_data_handle());
            auto* z = static_cast<float*>(c.get_data_handle());
            over_team(s.count(), [&](int64_t at, int64_t n) {
              (streaming ? probe::add_streaming : probe::add)(x + at, y + at, z + at, n);
            });
          },
          1.0 * s.count(), 12.0 * s.count()};
}

// Bandwidth in STREAM's terms: read only (sum), copy, triad with streaming stores.
Work bandwidth(const std::string& dtype, Size s, char kind) {
  const memory a = filled(s, dtype), b = filled(s, dtype);
  const memory c = kind == 't' ? filled(s, dtype) : b;
  return {[=] {
            const auto* x = static_cast<const float*>(a.get_data_handle());
            auto* y = static_cast<float*>(b.get_data_handle());
            auto* z = static_cast<float*>(c.get_data_handle());
            over_team(s.count(), [&](int64_t at, int64_t n) {
              if (kind == 'r') y[at] = probe::sum(x + at, n);
              if (kind == 'c') probe::copy_streaming(x + at, y + at, n);
              if (kind == 't') probe::triad_streaming(x + at, y + at, z + at, n);
            });
          },
          kind == 't' ? 2.0 * s.count() : 0.0,
          (kind == 'r'   ? 4.0
           : kind == 'c' ? 8.0
                         : 12.0) *
              s.count()};
}

// Independent multiply-adds in registers on every thread, `rows` thousand rounds of them.
Work multiply_adds(const std::string& dtype, Size s) {
  const auto round = dtype == "bfloat16" ? probe::bf16_round() : probe::fma_round();
  if (!round.run)
    throw std::runtime_error("this processor has no " + dtype + " multiply-add that the probe knows");
  const int64_t rounds = s.rows * 1000;
  return {[=] {
#pragma omp parallel
            round.run(rounds);
          },
          round.flops * rounds * omp_get_max_threads(), 0};
}

const std::map<std::string, Case>& cases() {
  using std::placeholders::_1, std::placeholders::_2;
  const std::vector<std::string> f32{"float32"}, both{"float32", "bfloat16"};
  static const std::map<std::string, Case> all{
      {"matmul", {both, std::bind(matmul, _1, _2, false)}},
      {"matmul_packed", {both, std::bind(matmul, _1, _2, true)}},
      {"add", {both, std::bind(binary, _1, _2, dnnl::algorithm::binary_add)}},
      {"mul", {both, std::bind(binary, _1, _2, dnnl::algorithm::binary_mul)}},
      {"relu", {both, relu}},
      {"softmax", {both, softmax}},
      {"layer_norm", {both, layer_norm}},
      {"rowsum", {both, rowsum}},
      {"loop_rowsum", {f32, loop_rowsum}},
      {"loop_add", {f32, std::bind(loop_add, _1, _2, false)}},
      {"loop_add_streaming", {f32, std::bind(loop_add, _1, _2, true)}},
      {"stream_read", {f32, std::bind(bandwidth, _1, _2, 'r')}},
      {"stream_copy", {f32, std::bind(bandwidth, _1, _2, 'c')}},
      {"stream_triad", {f32, std::bind(bandwidth, _1, _2, 't')}},
      {"fma", {both, multiply_adds}},
  };
  return all;
}

Size parse(const std::string& text) {
  Size s{};
  char x = 0;
  std::istringstream in(text);
  in >> s.rows;
  s.cols = s.rows;
  if (in >> x) in >> s.cols;
  if (s.rows <= 0 || s.cols <= 0 || s.rows > 1 << 26 || s.cols > 1 << 26)
    throw std::runtime_error("bad size " + text);
  return s;
}

// Kept per problem; made and run twice on first use.
Work& work(const std::string& name, const std::string& dtype, const std::string& size) {
  static std::map<std::string, Work> made;
  const std::string key = name + ' ' + dtype + ' ' + size;
  auto found = made.find(key);
  if (found == made.end()) {
    const auto known = cases().find(name);
    if (known == cases().end()) throw std::runtime_error("no such case");
    bool takes = false;
    for (const auto& d : known->second.dtypes) takes |= d == dtype;
    if (!takes) throw std::runtime_error("the case does not take " + dtype);
    found = made.emplace(key, known->second.make(dtype, parse(size))).first;
    found->second.run();
  }
  return found->second;
}

void list() {
  std::cout << "{\"threads\":" << omp_get_max_threads() << ",\"cases\":{";
  const char* comma = "";
  for (const auto& [name, c] : cases()) {
    std::cout << comma << '"' << name << "\":[";
    for (size_t i = 0; i < c.dtypes.size(); ++i) std::cout << (i ? ",\"" : "\"") << c.dtypes[i] << '"';
    std::cout << ']';
    comma = ",";
  }
  std::cout << "}}" << std::endl;
}

void answer(const std::string& line) {
  std::istringstream in(line);
  std::string name, dtype, size;
  int64_t runs = 0;
  in >> name >> dtype >> size >> runs;
  std::cout << "{\"case\":\"" << name << "\",\"dtype\":\"" << dtype << "\",\"size\":\"" << size << "\"";
  try {
    if (runs < 1 || runs > 1000000) throw std::runtime_error("expected: <case> <dtype> <size> <runs>");
    Work& w = work(name, dtype, size);
    std::vector<double> us(static_cast<size_t>(runs));
    w.run();
    for (auto& sample : us) {
      const auto start = std::chrono::steady_clock::now();
      w.run();
      sample = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
    }
    std::cout << ",\"runs\":" << runs << ",\"flops\":" << w.flops << ",\"bytes\":" << w.bytes << ",\"us\":[";
    for (size_t i = 0; i < us.size(); ++i) std::cout << (i ? "," : "") << us[i];
    std::cout << "]}" << std::endl;
  } catch (const std::exception& error) {
    std::string what = error.what();
    for (auto& c : what) c = c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32 ? ' ' : c;
    std::cout << ",\"error\":\"" << what << "\"}" << std::endl;
  }
}

}  // namespace

int main() {
  attn::cpu::own_team(attn::cpu::available_cores());
  std::cout.precision(10);
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "list")
      list();
    else if (!line.empty())
      answer(line);
  }
}
