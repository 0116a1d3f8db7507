// reduce {op, dtype, first, groups}: sum, mean, max, argmax over any axes.
//
// The input's neighbouring kept axes are merged, and its neighbouring reduced ones: `groups` holds the sizes
// of what remains, kept and reduced in turn, and `first` says whether the first is reduced. Where the
// innermost group is reduced an output is a sum of contiguous rows; where it is kept, outputs lie side by
// side in columns.
#include "reduce.h"

#include <cmath>
#include <limits>

#include "kernel.h"
#include "strided.h"
#include "team.h"
#include "vec.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements that are worth a thread

struct Geometry {
  Strided kept, reduced;
  int64_t outputs, count;  // elements of the output; of the input to each of them
  bool rows;               // the innermost group is reduced

  Geometry(const std::vector<int64_t>& groups, bool first_reduced) {
    std::vector<int64_t> strides(groups.size());
    int64_t next = 1;
    for (size_t g = groups.size(); g-- > 0; next *= groups[g]) strides[g] = next;
    for (size_t g = 0; g < groups.size(); g++) {
      Strided& side = (g % 2 == 0) == first_reduced ? reduced : kept;
      side.dims.push_back(groups[g]);
      side.strides.push_back(strides[g]);
    }
    outputs = kept.count();
    count = reduced.count();
    rows = !groups.empty() && (groups.size() % 2 == 1) == first_reduced;
  }
};

struct Combine {
  Reduce op;
  DType dtype;
  // `b` comes after `a`.
  Partial operator()(Partial a, Partial b) const {
    if (op == Reduce::sum || op == Reduce::mean) {
      if (dtype != DType::i32) return {a.value + b.value, 0};
      return {double(int32_t(uint32_t(int32_t(a.value)) + uint32_t(int32_t(b.value)))), 0};
    }
    return b.value > a.value || (std::isnan(b.value) && !std::isnan(a.value)) ? b : a;
  }
};

// Rounds results to the output's dtype; `count` is what a mean divides by.
struct Writer {
  Reduce op;
  DType dtype;
  double count;

  void operator()(const Partial* results, int64_t n, void* out, int64_t at) const {
    if (op == Reduce::argmax) {
      for (int64_t i = 0; i < n; i++)
        static_cast<int32_t*>(out)[at + i] = static_cast<int32_t>(results[i].at);
    } else if (dtype == DType::i32) {
      for (int64_t i = 0; i < n; i++)
        static_cast<int32_t*>(out)[at + i] = static_cast<int32_t>(results[i].value);
    } else {
      with_float(dtype, [&](auto t) {
        using T = decltype(t);
        const double divide = op == Reduce::mean ? count : 1;
        for (int64_t i = 0; i < n; i++)
          static_cast<T*>(out)[at + i] = from_f32<T>(static_cast<float>(results[i].value / divide));
      });
    }
  }
};

class Reduction {
 public:
  Reduction(Reduce op, DType dtype, Geometry geometry)
      : geometry_(std::move(geometry)),
        bytes_(static_cast<int64_t>(size_of(dtype))),
        loops_(reduce_loops(dtype, op)),
        combine_{op, dtype},
        write_{op, dtype, double(geometry_.count)} {
    Strided& inner = geometry_.rows ? geometry_.reduced : geometry_.kept;
    inner_ = inner.dims.empty() ? 1 : inner.dims.back();
    if (!inner.dims.empty()) inner.dims.pop_back(), inner.strides.pop_back();
    items_ = geometry_.rows ? geometry_.outputs : geometry_.outputs / std::max<int64_t>(inner_, 1) * tiles();
  }

  void operator()(const Operands& args) const {
    if (geometry_.outputs == 0) return;
    const char* x = static_cast<const char*>(args.in[0]);
    if (geometry_.count == 0) {  // sum 0, mean 0 / 0; max and argmax never come here
      for (int64_t o = 0; o < geometry_.outputs; o++) write_(&kNothing, 1, args.out[0], o);
      return;
    }
    const int64_t work = std::max<int64_t>(1, geometry_.outputs * geometry_.count / items_);
    const int64_t segments =
        items_ < team_size() ? std::clamp<int64_t>(items_ * work / kGrain, 1, team_size()) : 1;
    if (segments == 1) {
      parallel_for(items_, std::max<int64_t>(1, kGrain / work), [&](int64_t begin, int64_t end) {
        walk(x, begin, end, 0, geometry_.count,
             [&](const Partial* p, int64_t n, int64_t at) { write_(p, n, args.out[0], at); });
      });
      return;
    }
    // Too few outputs to share out: each thread takes a stretch of the reduction, and they join in order.
    std::vector<Partial> parts(static_cast<size_t>(segments * geometry_.outputs));
    parallel_for(segments, 1, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; s++) {
        Partial* part = parts.data() + s * geometry_.outputs;
        walk(x, 0, items_, cut(s, segments), cut(s + 1, segments),
             [&](const Partial* p, int64_t n, int64_t at) { std::copy(p, p + n, part + at); });
      }
    });
    for (int64_t o = 0; o < geometry_.outputs; o++) {
      Partial total = parts[static_cast<size_t>(o)];
      for (int64_t s = 1; s < segments; s++)
        total = combine_(total, parts[static_cast<size_t>(s * geometry_.outputs + o)]);
      write_(&total, 1, args.out[0], o);
    }
  }

 private:
  static constexpr Partial kNothing{0, 0};
  static constexpr int64_t kBatch = 64;  // outputs of rows between writes

  int64_t tiles() const { return (inner_ + kColumnTile - 1) / kColumnTile; }
  int64_t cut(int64_t s, int64_t segments) const { return geometry_.count * s / segments; }

  // Reduces the stretch [r0, r1) for each of the items; sink(results, n, first output).
  template <class Sink>
  void walk(const char* x, int64_t begin, int64_t end, int64_t r0, int64_t r1, Sink&& sink) const {
    if (geometry_.rows) {
      Partial results[kBatch];
      for (int64_t o = begin; o < end; o += kBatch) {
        const int64_t n = std::min(kBatch, end - o);
        for (int64_t i = 0; i < n; i++) results[i] = row(x + geometry_.kept.offset(o + i) * bytes_, r0, r1);
        sink(results, n, o);
      }
    } else {
      for (int64_t item = begin; item < end; item++) columns(x, item, r0, r1, sink);
    }
  }

  Partial row(const char* x, int64_t r0, int64_t r1) const {
    Partial total{};
    for (int64_t r = r0; r < r1;) {
      const int64_t at = r % inner_, n = std::min(inner_ - at, r1 - r);
      Partial part = loops_.row(x + (geometry_.reduced.offset(r / inner_) + at) * bytes_, n);
      part.at += r;
      total = r == r0 ? part : combine_(total, part);
      r += n;
    }
    return total;
  }

  template <class Sink>
  void columns(const char* x, int64_t item, int64_t r0, int64_t r1, Sink&& sink) const {
    ColumnTile tile;
    const int64_t outer = item / tiles(), first = item % tiles() * kColumnTile;
    const int64_t n = std::min(kColumnTile, inner_ - first);
    const char* base = x + (geometry_.kept.offset(outer) + first) * bytes_;
    const bool any = !geometry_.reduced.dims.empty();
    const int64_t run = any ? geometry_.reduced.dims.back() : 1,
                  stride = any ? geometry_.reduced.strides.back() : 0;
    for (int64_t r = r0; r < r1;) {
      const int64_t rows = std::min(run - r % run, r1 - r);
      loops_.columns(base + geometry_.reduced.offset(r) * bytes_, rows, stride, n, r, r == r0, tile);
      r += rows;
    }
    Partial results[kBatch];
    for (int64_t c = 0; c < n; c += kBatch) {
      const int64_t m = std::min(kBatch, n - c);
      for (int64_t i = 0; i < m; i++) results[i] = {tile.value[c + i], tile.at[c + i]};
      sink(results, m, outer * inner_ + first + c);
    }
  }

  Geometry geometry_;  // without its innermost group, whose size is inner_
  int64_t bytes_, inner_ = 1, items_ = 0;
  ReduceLoops loops_;
  Combine combine_;
  Writer write_;
};

Kernel make_reduce(Attrs& attrs) {
  const auto op = static_cast<Reduce>(attrs.i());
  const DType dtype = attrs.dtype();
  const bool first_reduced = attrs.b();
  return Reduction(op, dtype, Geometry(attrs.list(), first_reduced));
}

ATTN_CPU_KERNEL(reduce, make_reduce);

}  // namespace
}  // namespace attn::cpu
