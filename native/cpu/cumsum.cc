// cumsum {dtype, outer, n, inner}: running sums along the middle axis of [outer, n, inner].
// Floats are carried in double, int32 wraps modulo 2^32.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernel.h"
#include "team.h"
#include "vec.h"

namespace attn::cpu {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread
constexpr int64_t kTile = 512;       // columns side by side

template <class T>
struct Number {
  using Sum = double;
  static Sum from(T x) { return to_f32(x); }
  static T to(Sum s) { return from_f32<T>(static_cast<float>(s)); }
};
template <>
struct Number<int32_t> {
  using Sum = uint32_t;
  static Sum from(int32_t x) { return static_cast<uint32_t>(x); }
  static int32_t to(Sum s) { return static_cast<int32_t>(s); }
};

template <class T>
typename Number<T>::Sum total_of(const T* x, int64_t n) {
  typename Number<T>::Sum parts[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int k = 0; k < 4; k++) parts[k] += Number<T>::from(x[i + k]);
  for (; i < n; i++) parts[0] += Number<T>::from(x[i]);
  return (parts[0] + parts[1]) + (parts[2] + parts[3]);
}

// One addition to the carry for four elements: the chain of dependent additions is what takes the time.
template <class T>
void scan_row(const T* x, T* y, int64_t n, typename Number<T>::Sum carry) {
  using N = Number<T>;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const auto a = N::from(x[i]), ab = a + N::from(x[i + 1]);
    const auto c = N::from(x[i + 2]), cd = c + N::from(x[i + 3]);
    y[i] = N::to(carry + a);
    y[i + 1] = N::to(carry + ab);
    y[i + 2] = N::to(carry + (ab + c));
    carry += ab + cd;
    y[i + 3] = N::to(carry);
  }
  for (; i < n; i++) y[i] = N::to(carry += N::from(x[i]));
}

template <class T>
void scan_columns(const T* x, T* y, int64_t n, int64_t stride, int64_t columns) {
  typename Number<T>::Sum sum[kTile] = {};
  for (int64_t r = 0; r < n; r++)
    for (int64_t c = 0; c < columns; c++)
      y[r * stride + c] = Number<T>::to(sum[c] += Number<T>::from(x[r * stride + c]));
}

template <class T>
Kernel make(int64_t outer, int64_t n, int64_t inner) {
  if (outer * n * inner == 0) return [](const Operands&) {};
  if (inner > 1) {
    const int64_t tiles = (inner + kTile - 1) / kTile;
    return [=](const Operands& args) {
      parallel_for(outer * tiles, std::max<int64_t>(1, kGrain / (n * std::min(kTile, inner))),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t t = begin; t < end; t++) {
                       const int64_t first = t % tiles * kTile, at = t / tiles * n * inner + first;
                       scan_columns(static_cast<const T*>(args.in[0]) + at, static_cast<T*>(args.out[0]) + at,
                                    n, inner, std::min(kTile, inner - first));
                     }
                   });
    };
  }
  return [=](const Operands& args) {
    const T* x = static_cast<const T*>(args.in[0]);
    T* y = static_cast<T*>(args.out[0]);
    if (outer >= team_size() || n < 4 * kGrain) {
      parallel_for(outer, std::max<int64_t>(1, kGrain / n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; r++) scan_row<T>(x + r * n, y + r * n, n, {});
      });
      return;
    }
    // Few long rows: each thread sums its stretch, and scans it from the sum of those before it.
    const int64_t parts = team_size();
    std::vector<typename Number<T>::Sum> sums(static_cast<size_t>(parts));
    for (int64_t r = 0; r < outer; r++) {
      const T* from = x + r * n;
      const auto each = [&](auto&& fn) {
        parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
          for (int64_t p = begin; p < end; p++) fn(p, n * p / parts, n * (p + 1) / parts);
        });
      };
      each(
          [&](int64_t p, int64_t a, int64_t b) { sums[static_cast<size_t>(p)] = total_of(from + a, b - a); });
      each([&](int64_t p, int64_t a, int64_t b) {
        typename Number<T>::Sum carry{};
        for (int64_t q = 0; q < p; q++) carry += sums[static_cast<size_t>(q)];
        scan_row(from + a, y + r * n + a, b - a, carry);
      });
    }
  };
}

Kernel make_cumsum(Attrs& attrs) {
  const DType dtype = attrs.dtype();
  const int64_t outer = attrs.i(), n = attrs.i(), inner = attrs.i();
  if (dtype == DType::i32) return make<int32_t>(outer, n, inner);
  return with_float(dtype, [=](auto t) { return make<decltype(t)>(outer, n, inner); });
}

ATTN_CPU_KERNEL(cumsum, make_cumsum);

}  // namespace
}  // namespace attn::cpu
