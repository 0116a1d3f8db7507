// Tiles of attention: rows brought into words of a product, which keys a row sees, masks as biases.
#if defined(ATTN_CPU_ATTENTION_TILE) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_ATTENTION_TILE
#undef ATTN_CPU_ATTENTION_TILE
#else
#define ATTN_CPU_ATTENTION_TILE
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include <hwy/cache_control.h>

#include "attention.h"
#include "attention_dot.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

inline constexpr int64_t kQueries = kAttentionQueries;
// Keys, and rows of queries, at a time where only part of a tile is visible: what is not is left out in
// steps of so many.
inline constexpr int64_t kStep = 16;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.693147180559945309f;

HWY_INLINE int64_t lanes() { return static_cast<int64_t>(hn::Lanes(F32())); }
// To multiples of a power of two.
HWY_INLINE constexpr int64_t round_down(int64_t n, int64_t unit) { return n & -unit; }
HWY_INLINE constexpr int64_t round_up(int64_t n, int64_t unit) { return round_down(n + unit - 1, unit); }

// Words of a head of D elements, padded to whole vectors of 16.
template <class Dot>
constexpr int64_t head_words(int64_t D) {
  return round_up((D + Dot::kPer - 1) / Dot::kPer, 16);
}

// Hands out parts of a task's scratch; from null it counts what a task needs.
class Bump {
 public:
  explicit Bump(float* from) : from_(from) {}
  float* take(int64_t floats) {
    float* const part = from_ ? from_ + used_ : nullptr;
    used_ += static_cast<size_t>(round_up(floats, 16));
    return part;
  }
  size_t used() const { return used_; }

 private:
  float* from_;
  size_t used_ = 0;
};

template <class T>
HWY_INLINE T* row_of(const AttentionOperand& x, int64_t b, int64_t t, int64_t head) {
  return static_cast<T*>(x.at) + b * x.batch + t * x.row + head * x.head;
}

// Rows of one head lie far apart, where the hardware does not foresee them: how many rows ahead to ask for,
// where they are long enough to gain by it.
inline constexpr int64_t kAhead = 24;
template <class T>
HWY_INLINE void prefetch_row(const T* row, int64_t D) {
  if (D * static_cast<int64_t>(sizeof(T)) < 16) return;
  const auto* const at = reinterpret_cast<const char*>(row);
  for (int64_t byte = 0; byte < D * static_cast<int64_t>(sizeof(T)); byte += 64) hwy::Prefetch(at + byte);
}

// D elements as float32, zeros up to a multiple of 16.
template <class T>
HWY_INLINE void widen_row(const T* from, int64_t D, float* to, float sign) {
  const F32 d;
  const int64_t N = lanes();
  const VF factor = hn::Set(d, sign);
  int64_t c = 0;
  for (; c + N <= D; c += N) store(hn::Mul(load(from + c), factor), to + c);
  if (c < D) {
    store(hn::Mul(load_n(from + c, static_cast<size_t>(D - c)), factor), to + c);
    c += N;
  }
  for (; c < padded_head(D); c += N) store(hn::Zero(d), to + c);
}

// D elements of a float32 row times a factor.
template <class T>
HWY_INLINE void narrow_row(const float* from, float factor, T* to, int64_t D) {
  const F32 d;
  const int64_t N = lanes();
  int64_t c = 0;
  for (; c + N <= D; c += N) store(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), to + c);
  if (c < D) store_n(hn::Mul(hn::LoadU(d, from + c), hn::Set(d, factor)), to + c, static_cast<size_t>(D - c));
}

// A row as words of Dot along D, zeros up to head_words.
template <class Dot, class T>
HWY_INLINE void word_row(const T* from, int64_t D, float* to, float sign) {
  if constexpr (Dot::kPer == 1) {
    widen_row(from, D, to, sign);
  } else {
    // Whole vectors where they end with the row, the rest and the zeros after it byte by byte.
    const U16 d;
    const int64_t N = lanes(), whole = round_down(D, N), all = head_words<Dot>(D) * 2;
    const auto* in = reinterpret_cast<const uint16_t*>(from);
    auto* bits = reinterpret_cast<uint16_t*>(to);
    const auto flip = hn::Set(d, sign < 0 ? uint16_t{0x8000} : uint16_t{0});
    for (int64_t c = 0; c < whole; c += N) hn::StoreU(hn::Xor(hn::LoadU(d, in + c), flip), d, bits + c);
    for (int64_t c = whole; c < all; c += N) hn::StoreU(hn::Zero(d), d, bits + c);
    for (int64_t c = whole; c < D; c++) bits[c] = in[c] ^ (sign < 0 ? 0x8000 : 0);
  }
}

// Whether rows of keys and values serve products as they lie: copies, close together, repay themselves only
// over some tiles of queries.
template <class Dot, class T>
bool rows_serve(const AttentionProblem& p, int64_t query_tiles) {
  return std::is_same_v<T, float> && Dot::kPer == 1 && p.D % 16 == 0 && query_tiles <= 2;
}

// Two rows of bfloat16 as words, an element of each to a word; zeros up to a multiple of 16 words.
HWY_INLINE void zip_rows(const uint16_t* low, const uint16_t* high, int64_t words, float* to) {
  const U32 u;
  const int64_t N = lanes();
  for (int64_t c = 0; c < words; c += N) {
    const VU a = hn::PromoteTo(u, hn::LoadU(U16(), low + c)),
             b = hn::PromoteTo(u, hn::LoadU(U16(), high + c));
    hn::StoreU(hn::Or(a, hn::ShiftLeft<16>(b)), u, reinterpret_cast<uint32_t*>(to) + c);
  }
}

// out[column][row] = in[row][column] of words; whole blocks of 4 x 4.
HWY_INLINE void transpose_words(const float* in, int64_t in_row, int64_t rows, int64_t columns, float* out,
                                int64_t out_row) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> dd;
  for (int64_t c = 0; c < columns; c += 4)
    for (int64_t r = 0; r < rows; r += 4) {
      const float* from = in + r * in_row + c;
      const auto a0 = hn::LoadU(d, from), a1 = hn::LoadU(d, from + in_row);
      const auto a2 = hn::LoadU(d, from + 2 * in_row), a3 = hn::LoadU(d, from + 3 * in_row);
      const auto low01 = hn::BitCast(dd, hn::InterleaveLower(d, a0, a1));
      const auto low23 = hn::BitCast(dd, hn::InterleaveLower(d, a2, a3));
      const auto high01 = hn::BitCast(dd, hn::InterleaveUpper(d, a0, a1));
      const auto high23 = hn::BitCast(dd, hn::InterleaveUpper(d, a2, a3));
      float* to = out + c * out_row + r;
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, low01, low23)), d, to);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, low01, low23)), d, to + out_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dd, high01, high23)), d, to + 2 * out_row);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dd, high01, high23)), d, to + 3 * out_row);
    }
}

struct Span {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Rows [first, first + rows) of the queries of a head of keys, and the keys that they see.
struct QueryTile {
  const AttentionProblem& p;
  int64_t b, kv_head, first, rows;
  int64_t lanes;                                      // rows, rounded up to what is computed together
  Span keys;                                          // seen by any of the rows
  alignas(64) int32_t low[kQueries], high[kQueries];  // keys [low, high) of each row
  int32_t query[kQueries], head[kQueries];            // of each row
  alignas(64) float fall[kQueries],
      place[kQueries];  // ALiBi's slope in units of log2, and the key beside a row

  QueryTile(const AttentionProblem& problem, int64_t batch, int64_t key_head, int64_t at, int64_t unit)
      : p(problem),
        b(batch),
        kv_head(key_head),
        first(at),
        rows(std::min(kQueries, problem.rows() - at)),
        lanes(round_up(rows, unit)) {
    int64_t i = first / p.group, g = first % p.group;
    for (int64_t r = 0; r < rows; r++) {
      const Span seen = seen_by(p, i);
      low[r] = static_cast<int32_t>(seen.begin), high[r] = static_cast<int32_t>(seen.end);
      query[r] = static_cast<int32_t>(i), head[r] = static_cast<int32_t>(kv_head * p.group + g);
      if (++g == p.group) g = 0, i++;
    }
    for (int64_t r = rows; r < lanes; r++) low[r] = low[rows - 1], high[r] = high[rows - 1];
    keys = {low[0], high[rows - 1]};
    for (int64_t r = 0; p.alibi && r < lanes; r++) {
      const int64_t row = std::min(r, rows - 1);
      fall[r] = kLog2E * std::exp2(-8.0f * static_cast<float>(head[row] + 1) / static_cast<float>(p.Hq));
      place[r] = static_cast<float>(query[row] + p.Tk - p.Tq);
    }
  }
  // Keys that query i may see, masks aside.
  static HWY_INLINE Span seen_by(const AttentionProblem& p, int64_t i) {
    const int64_t at = i + p.Tk - p.Tq;
    const int64_t from = p.window > 0 ? at - p.window + 1 : 0;
    const int64_t to = std::min(p.causal ? at + 1 : p.Tk, p.window > 0 ? at + p.window : p.Tk);
    return {std::clamp<int64_t>(from, 0, p.Tk), std::clamp<int64_t>(to, 0, p.Tk)};
  }
  template <class T>
  HWY_INLINE T* at(const AttentionOperand& x, int64_t row) const {
    return row_of<T>(x, b, query[row], head[row]);
  }
  HWY_INLINE int64_t stat(int64_t row) const { return (b * p.Hq + head[row]) * p.Tq + query[row]; }
  HWY_INLINE int64_t side(int64_t row) const {
    return b * p.sides.batch + (query[row] * p.Hq + head[row]) * 2;
  }

  // Whether every row sees all these keys.
  bool sees_all(Span j) const { return low[rows - 1] <= j.begin && high[0] >= j.end; }
  // The rows that see any of these keys, rounded out to whole units of lanes.
  Span seeing(Span j, int64_t unit) const {
    Span r{0, rows};
    const int64_t group = p.group, back = p.Tk - p.Tq;
    if (p.causal) r.begin = std::max(r.begin, (j.begin - back) * group - first);
    if (p.window > 0) {
      r.begin = std::max(r.begin, (j.begin - back - p.window + 1) * group - first);
      r.end = std::min(r.end, (j.end - back + p.window - 1) * group - first);
    }
    r.begin = std::min(r.begin, rows), r.end = std::max(r.end, int64_t{0});
    return {round_down(r.begin, unit),
            std::max(round_down(r.begin, unit), std::min(lanes, round_up(r.end, unit)))};
  }
};

// What is added to a tile of scores in units of log2: a mask, -inf where it hides a key, and ALiBi, by which
// scores fall with the distance of query and key.
struct Bias {
  bool any = false;
  enum Kind { none, by_key, each } kind = none;
  const float* at = nullptr;  // [key], or [key][query]
  const QueryTile* alibi = nullptr;
  int64_t first = 0;  // key of the tile
  HWY_INLINE VF add(VF s, int64_t key, int64_t lane) const {
    const F32 d;
    if (alibi) {
      const VF place = hn::Load(d, alibi->place + lane);
      const VF apart = hn::Abs(hn::Sub(place, hn::Set(d, static_cast<float>(first + key))));
      s = hn::NegMulAdd(hn::Load(d, alibi->fall + lane), apart, s);
    }
    if (kind == none) return s;
    return hn::Add(s, kind == by_key ? hn::Set(d, at[key]) : hn::LoadU(d, at + key * kQueries + lane));
  }
};

// That of a tile of queries and of keys j; `scratch` holds two such tiles.
inline Bias bias_of(const QueryTile& tile, const void* mask, Span j, float* scratch) {
  const AttentionProblem& p = tile.p;
  Bias bias{p.alibi || p.mask != MaskKind::none, Bias::none, scratch, p.alibi ? &tile : nullptr, j.begin};
  if (p.mask == MaskKind::none) return bias;
  const auto [sb, sh, si, sj] = p.mask_strides;
  const auto fill = [&](int64_t row, float* to) {
    const int64_t at = tile.b * sb + tile.head[row] * sh + tile.query[row] * si + j.begin * sj;
    if (p.mask == MaskKind::keep) {
      const auto* from = static_cast<const uint8_t*>(mask) + at;
      for (int64_t k = 0; k < j.size(); k++) to[k] = from[k * sj] ? 0.0f : -kInfinity;
    } else {
      const auto* from = static_cast<const float*>(mask) + at;
      for (int64_t k = 0; k < j.size(); k++) to[k] = from[k * sj] * kLog2E;
    }
  };
  if (si == 0 && (sh == 0 || p.group == 1)) {
    fill(0, scratch);
    bias.kind = Bias::by_key;
    return bias;
  }
  const int64_t columns = round_up(j.size(), 4);
  float* const turned = scratch + kQueries * columns;
  for (int64_t row = 0; row < tile.lanes; row++) fill(std::min(row, tile.rows - 1), scratch + row * columns);
  transpose_words(scratch, columns, tile.lanes, columns, turned, kQueries);
  bias.kind = Bias::each, bias.at = turned;
  return bias;
}
inline int64_t bias_floats(const AttentionProblem& p, int64_t keys) {
  return p.mask == MaskKind::none ? 0 : 2 * kQueries * round_up(keys, 4);
}

// -inf where key j is none of those in [low, high) of the lanes' rows.
HWY_INLINE VF hide(VF s, int64_t j, const QueryTile& tile, int64_t lane) {
  const I32 i;
  const VI key = hn::Set(i, static_cast<int32_t>(j));
  const auto seen =
      hn::And(hn::Not(hn::Lt(key, hn::Load(i, tile.low + lane))), hn::Lt(key, hn::Load(i, tile.high + lane)));
  return hn::IfThenElse(hn::RebindMask(F32(), seen), s, hn::Set(F32(), -kInfinity));
}

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
