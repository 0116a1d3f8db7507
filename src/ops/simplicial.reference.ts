/** Simplicial attention and its gradient in Float64, one query at a time: the oracle of every kernel. */
import { reach, type SimplicialSizes } from './simplicial.walk.js';

type Array64 = Float64Array;

/** What of q ∘ k2 is multiplied with k: the score is Σ_l combined_l k_l. */
function combined(score: SimplicialSizes['score'], a: Array64, b: Array64): Array64 {
  if (score === 'trilinear') return a.map((x, l) => x * b[l]!);
  // det[q, k, k2] = k · (k2 × q), chunk by chunk.
  const out = new Float64Array(a.length);
  const n = Math.floor(a.length / 3);
  for (let m = 0; m < n; m++)
    for (let c = 0; c < 3; c++) {
      const [y, z] = [((c + 1) % 3) * n + m, ((c + 2) % 3) * n + m];
      out[c * n + m] = b[y]! * a[z]! - b[z]! * a[y]!;
    }
  return out;
}

interface Row {
  /** First elements of the query's row, and its place in lse. */
  q: number;
  stat: number;
  /** First elements of the rows of its keys. */
  first: number[];
  second: number[];
  /** [second][first] */
  scores: Float64Array;
}

/** Calls `visit` for each query with the keys that it sees and their scores. */
function eachQuery(
  s: SimplicialSizes,
  [q, k, k2, mask]: readonly [Array64, Array64, Array64, Array64 | undefined],
  visit: (row: Row) => void,
): void {
  const { B, Tq, Tk, Hq, Hkv, D } = s;
  for (let b = 0; b < B; b++)
    for (let i = 0; i < Tq; i++)
      for (let h = 0; h < Hq; h++) {
        const seen = (w: number) => {
          const [from, to] = reach(s, w, i);
          const rows: number[] = [];
          for (let j = from; j < to; j++)
            if (mask?.[b * Tk + j] !== 0) rows.push(((b * Tk + j) * Hkv + Math.floor(h / (Hq / Hkv))) * D);
          return rows;
        };
        const [first, second] = [seen(s.w1), seen(s.w2)];
        const at = ((b * Tq + i) * Hq + h) * D;
        const scores = new Float64Array(first.length * second.length);
        second.forEach((y, n) => {
          const a = combined(s.score, q.subarray(at, at + D), k2.subarray(y, y + D));
          first.forEach((x, m) => {
            let sum = 0;
            for (let l = 0; l < D; l++) sum += a[l]! * k[x + l]!;
            scores[n * first.length + m] = s.scale * sum;
          });
        });
        visit({ q: at, stat: (b * Hq + h) * Tq + i, first, second, scores });
      }
}

/** [o, lse, entropy]. A query that sees no pair has o = 0, lse = -inf, entropy 0. */
export function simplicialReference(
  s: SimplicialSizes,
  [q, k, v, k2, v2, mask]: readonly (Array64 | undefined)[],
): [Array64, Array64, Array64] {
  const o = new Float64Array(q!.length);
  const lse = new Float64Array(s.B * s.Hq * s.Tq).fill(Number.NEGATIVE_INFINITY);
  const entropy = new Float64Array(lse.length);
  eachQuery(s, [q!, k!, k2!, mask], (row) => {
    if (row.scores.length === 0) return;
    const max = row.scores.reduce((a, b) => Math.max(a, b));
    const sum = row.scores.reduce((total, score) => total + Math.exp(score - max), 0);
    lse[row.stat] = max + Math.log(sum);
    row.second.forEach((y, n) => {
      row.first.forEach((x, m) => {
        const below = row.scores[n * row.first.length + m]! - lse[row.stat]!;
        const p = Math.exp(below);
        for (let d = 0; d < s.D; d++) o[row.q + d]! += p * v![x + d]! * v2![y + d]!;
        entropy[row.stat]! -= p * below;
      });
    });
  });
  return [o, lse, entropy];
}

/**
 * [dq, dk, dv, dk2, dv2] with the weights that lse gives: P = exp(S - lse), dP_jk = Σ_d dy_d v_jd v2_kd,
 * dS = P (dP - Σ_d dy_d o_d).
 */
export function simplicialBackwardReference(
  s: SimplicialSizes,
  [dy, q, k, v, k2, v2, o, lse, mask]: readonly (Array64 | undefined)[],
): Array64[] {
  const { D } = s;
  const dq = new Float64Array(q!.length);
  const [dk, dv, dk2, dv2] = [0, 1, 2, 3].map(() => new Float64Array(k!.length)) as [
    Array64,
    Array64,
    Array64,
    Array64,
  ];
  const add = (to: Array64, at: number, what: Array64, factor: number) => {
    for (let l = 0; l < D; l++) to[at + l]! += factor * what[l]!;
  };
  eachQuery(s, [q!, k!, k2!, mask], (row) => {
    if (lse![row.stat] === Number.NEGATIVE_INFINITY) return;
    const [query, g] = [q!, dy!].map((x) => x.subarray(row.q, row.q + D)) as [Array64, Array64];
    let delta = 0;
    for (let d = 0; d < D; d++) delta += g[d]! * o![row.q + d]!;
    row.second.forEach((y, n) => {
      const [key2, value2] = [k2!, v2!].map((x) => x.subarray(y, y + D)) as [Array64, Array64];
      const a = combined(s.score, query, key2);
      const da = new Float64Array(D);
      const weighed = new Float64Array(D); // Σ_j P v
      row.first.forEach((x, m) => {
        const p = Math.exp(row.scores[n * row.first.length + m]! - lse![row.stat]!);
        let dp = 0;
        for (let d = 0; d < D; d++) dp += g[d]! * v![x + d]! * value2[d]!;
        const ds = p * (dp - delta) * s.scale;
        for (let d = 0; d < D; d++) dv[x + d]! += p * g[d]! * value2[d]!;
        add(dk, x, a, ds);
        add(da, 0, k!.subarray(x, x + D), ds);
        add(weighed, 0, v!.subarray(x, x + D), p);
      });
      // da · (k2 × q) = q · (da × k2) = k2 · (q × da)
      add(dq, row.q, combined(s.score, key2, da), 1);
      add(dk2, y, combined(s.score, da, query), 1);
      add(
        dv2,
        y,
        weighed.map((x, d) => x * g[d]!),
        1,
      );
    });
  });
  return [dq, dk, dv, dk2, dv2];
}
