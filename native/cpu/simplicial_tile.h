// Tiles of simplicial attention: four rows of queries against some offsets in k2, which make the columns of
// a product with keys; column 4 o + r is offset o of row r.
#if defined(ATTN_CPU_SIMPLICIAL_TILE) == defined(HWY_TARGET_TOGGLE)
#ifdef ATTN_CPU_SIMPLICIAL_TILE
#undef ATTN_CPU_SIMPLICIAL_TILE
#else
#define ATTN_CPU_SIMPLICIAL_TILE
#endif

#include "attention_tile.h"
#include "masked.h"
#include "simplicial.h"

ATTN_ATTENTION_BEGIN;
namespace attn::cpu::HWY_NAMESPACE {

constexpr int64_t kRows = kSimplicialRows, kOffsets = kSimplicialOffsets, kTileKeys = kSimplicialKeys;
constexpr int64_t kColumns = kRows * kOffsets;

// A row of q, k or k2 for the score: of a determinant the whole chunks alone, zeros to the end.
template <class T>
void pack_score_row(const SimplicialProblem& p, const T* from, float factor, float* to) {
  widen_row(from, p.score_depth(), to, factor);
}

// The way back: gradients of channels that take no part in the score are 0.
template <class T>
void unpack_score_row(const SimplicialProblem& p, const float* from, float factor, T* to) {
  narrow_row(from, factor, to, p.score_depth());
  for (int64_t l = p.score_depth(); l < p.D; l++) to[l] = from_f32<T>(0.0f);
}

// Σ_l c_l k_l is the score of a, b and k: c = a ∘ b, or b x a in each chunk, since det[a, k, b] = k (b x a).
// With kAdd, to += c.
template <bool kAdd>
HWY_INLINE void combine(const SimplicialProblem& p, const float* a, const float* b, float* HWY_RESTRICT to) {
  const F32 d;
  const int64_t N = lanes();
  if (p.score == SimplicialScore::trilinear) {
    for (int64_t l = 0; l < p.score_width(); l += N) {
      const VF y = hn::Mul(hn::LoadU(d, a + l), hn::LoadU(d, b + l));
      hn::StoreU(kAdd ? hn::Add(hn::LoadU(d, to + l), y) : y, d, to + l);
    }
    return;
  }
  const int64_t n = p.D / 3;
  for (int64_t m = 0; m < n; m += N) {
    const auto count = static_cast<size_t>(std::min(N, n - m));
    VF x[3], y[3];
    for (int64_t c = 0; c < 3; c++)
      x[c] = load_first(a + c * n + m, count), y[c] = load_first(b + c * n + m, count);
    for (int64_t c = 0; c < 3; c++) {
      const int64_t c1 = (c + 1) % 3, c2 = (c + 2) % 3;
      VF z = hn::NegMulAdd(y[c2], x[c1], hn::Mul(y[c1], x[c2]));
      if (kAdd) z = hn::Add(z, load_first(to + c * n + m, count));
      hn::BlendedStore(z, hn::FirstN(d, count), d, to + c * n + m);
    }
  }
}

using Reach = SimplicialProblem::Span;

// Keys of one kind that a task sees, as rows of float32.
struct PackedKeys {
  Reach span;
  float *k, *v;
  PackedKeys(const SimplicialProblem& p, Reach reach, Bump& bump)
      : span(reach),
        k(bump.take(reach.size() * p.score_width())),
        v(bump.take(reach.size() * p.value_width())) {}
  template <class T>
  void pack(const SimplicialProblem& p, const SimplicialTask& task, const void* from_k,
            const void* from_v) const {
    for (int64_t j = span.begin; j < span.end; j++) {
      const int64_t at = ((task.b * p.Tk + j) * p.Hkv + task.kv_head) * p.D;
      pack_score_row(p, static_cast<const T*>(from_k) + at, 1, k + (j - span.begin) * p.score_width());
      widen_row(static_cast<const T*>(from_v) + at, p.D, v + (j - span.begin) * p.value_width(), 1);
    }
  }
};

// Rows [first, first + rows) of the queries of a head of keys.
struct SimplicialTile {
  const SimplicialProblem& p;
  int64_t b, kv_head, first, rows;
  Reach keys;                 // seen by any of the rows
  int64_t base[kRows];        // the first key of k2's window, which may lie before all keys
  Reach own[kRows];           // keys of k that each row sees
  int64_t offsets, from, to;  // of k2's window; of these, those at which there is a key for any of the rows

  SimplicialTile(const SimplicialProblem& problem, const SimplicialTask& task, int64_t at)
      : p(problem),
        b(task.b),
        kv_head(task.kv_head),
        first(at),
        rows(std::min(kRows, task.last - at)),
        keys(p.reach_of_rows(first, first + rows, p.w1)),
        offsets(p.causal ? p.w2 : 2 * p.w2 - 1) {
    for (int64_t r = 0; r < rows; r++) {
      own[r] = p.reach(query(r), p.w1);
      base[r] = p.place(query(r)) - p.w2 + 1;
    }
    from = std::max<int64_t>(0, -base[rows - 1]);
    to = std::min(offsets, p.Tk - base[0]);
  }
  int64_t query(int64_t r) const { return (first + r) / p.group; }
  int64_t head(int64_t r) const { return kv_head * p.group + (first + r) % p.group; }
  // Of [B, Tq, Hq, D], and of [B, Hq, Tq].
  int64_t at(int64_t r) const { return ((b * p.Tq + query(r)) * p.Hq + head(r)) * p.D; }
  int64_t stat(int64_t r) const { return (b * p.Hq + head(r)) * p.Tq + query(r); }
};

// Some offsets of a tile: which keys of k2 its columns stand for and which keys of k they see.
struct Columns {
  int64_t offsets, count;                             // count = 4 offsets
  int64_t key[kColumns];                              // of k2; -1: there is none
  alignas(64) int32_t low[kColumns], high[kColumns];  // keys of k
  bool any = false, all = true;                       // whether there are keys of k2; for every column

  Columns(const SimplicialTile& tile, const uint8_t* mask, int64_t o)
      : offsets(std::min(kOffsets, tile.to - o)), count(offsets * kRows) {
    const SimplicialProblem& p = tile.p;
    const uint8_t* const seen = mask ? mask + tile.b * p.Tk : nullptr;
    for (int64_t c = 0; c < kColumns; c++) {
      const int64_t r = c % kRows, j = r < tile.rows ? tile.base[r] + o + c / kRows : -1;
      const bool there = c < count && j >= 0 && j < p.Tk && (!seen || seen[j]);
      key[c] = there ? j : -1;
      low[c] = there ? static_cast<int32_t>(tile.own[r].begin) : 0;
      high[c] = there ? static_cast<int32_t>(tile.own[r].end) : 0;
      if (c < count) there ? any = true : all = false;
    }
  }
  int64_t lanes_used() const { return round_up(count, lanes()); }
};

// Which keys of a tile the columns see: those of [low, high), and of these where the mask is true.
struct Seen {
  const Columns& columns;
  const uint8_t* mask;  // of the first key; null: all
  int64_t first;
  bool whole;  // every column sees every key
  Seen(const SimplicialTile& tile, const Columns& all, const uint8_t* masks, Span j)
      : columns(all), mask(nullptr), first(j.begin), whole(all.all) {
    if (masks) {
      const uint8_t* const at = masks + tile.b * tile.p.Tk + j.begin;
      if (std::count(at, at + j.size(), 0) > 0) mask = at, whole = false;
    }
    for (int64_t r = 0; r < tile.rows; r++)
      whole = whole && tile.own[r].begin <= j.begin && tile.own[r].end >= j.end;
  }
  HWY_INLINE hn::Mask<F32> operator()(int64_t k, int64_t lane) const {
    const I32 i;
    const VI key = hn::Set(i, !mask || mask[k] ? static_cast<int32_t>(first + k) : INT32_MAX);
    const auto below = hn::Lt(key, hn::Load(i, columns.low + lane));
    return hn::RebindMask(F32(), hn::AndNot(below, hn::Lt(key, hn::Load(i, columns.high + lane))));
  }
};

}  // namespace attn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
