/** Attention and its gradient in Float64, one query at a time: the oracle of every kernel. */
import { alibiSlope, type Sloped, scoreOf } from './attention.score.js';
import { type AttentionWalk, visibleKeys } from './attention.walk.js';

type Array64 = Float64Array;
type Optional64 = Array64 | undefined;

/** What the reference reads of a walk: q is [B, Tq, Hq, P D], o [B, Tq, Hq, D], k, v [B, kept, Hkv, D]. */
export interface ReferenceSizes
  extends Pick<
    AttentionWalk,
    'B' | 'Tq' | 'Tk' | 'kept' | 'Hq' | 'Hkv' | 'D' | 'P' | 'scale' | 'score' | 'causal' | 'window' | 'alibi'
  > {
  mask: { kind: 'bool' | 'float32'; strides: readonly [number, number, number, number] } | undefined;
  sides: { batch: number; keys: number } | undefined;
}

/** A key that a query sees: where its row begins, where its side is, and the score of both. */
interface Seen extends Sloped {
  row: number;
  side: number;
}

/** A query: where its vectors, its row of o, its statistics and its two sides begin. */
interface Query {
  vectors: number;
  row: number;
  stat: number;
  side: number;
}

/** Calls `visit` for each query with the keys that it sees. */
function eachQuery(
  sizes: ReferenceSizes,
  [q, k, sides, mask]: readonly [Array64, Array64, Optional64, Optional64],
  visit: (query: Query, keys: readonly Seen[]) => void,
): void {
  const { B, Tq, Tk, kept, Hq, Hkv, D, P, scale, alibi } = sizes;
  const side = sizes.sides ?? { batch: 0, keys: 0 };
  const [sb, sh, si, sj] = sizes.mask?.strides ?? [0, 0, 0, 0];
  const x = new Float64Array(P);
  const beside = new Float64Array(3);
  for (let b = 0; b < B; b++)
    for (let h = 0; h < Hq; h++)
      for (let i = 0; i < Tq; i++) {
        const row = ((b * Tq + i) * Hq + h) * D;
        const query = {
          vectors: row * P,
          row,
          stat: (b * Hq + h) * Tq + i,
          side: b * side.batch + (i * Hq + h) * 2,
        };
        if (sides) beside.set([sides[query.side]!, sides[query.side + 1]!]);
        const maskAt = (i: number, j: number) => mask![b * sb + h * sh + i * si + j * sj]!;
        const keys: Seen[] = [];
        const [from, to] = visibleKeys(sizes, i);
        for (let j = from; j < to; j++) {
          if (sizes.mask?.kind === 'bool' && maskAt(i, j) === 0) continue;
          const head = Math.floor(h / (Hq / Hkv));
          const key = ((b * kept + j) * Hkv + head) * D;
          const keySide = b * side.batch + side.keys + j * Hkv + head;
          for (let p = 0; p < P; p++) {
            let sum = 0;
            for (let d = 0; d < D; d++) sum += q[query.vectors + p * D + d]! * k[key + d]!;
            x[p] = sum;
          }
          if (sides) beside[2] = sides[keySide]!;
          const { score, byProducts, bySides } = scoreOf(sizes.score, scale, x, beside);
          let shown = score;
          if (alibi) shown -= alibiSlope(h, Hq) * Math.abs(i + Tk - Tq - j);
          if (sizes.mask?.kind === 'float32') shown += maskAt(i, j);
          if (shown !== Number.NEGATIVE_INFINITY)
            keys.push({ row: key, side: keySide, score: shown, byProducts, bySides });
        }
        visit(query, keys);
      }
}

/** [o, lse, entropy]. A query that sees no key has o = 0, lse = -inf, entropy 0. */
export function attentionReference(
  sizes: ReferenceSizes,
  [q, k, v, sides, mask]: readonly Optional64[],
): [Array64, Array64, Array64] {
  const { B, Tq, Hq, D } = sizes;
  const o = new Float64Array(B * Tq * Hq * D);
  const lse = new Float64Array(B * Hq * Tq).fill(Number.NEGATIVE_INFINITY);
  const entropy = new Float64Array(B * Hq * Tq);
  eachQuery(sizes, [q!, k!, sides, mask], ({ row, stat }, keys) => {
    if (keys.length === 0) return;
    const max = keys.reduce((most, { score }) => Math.max(most, score), Number.NEGATIVE_INFINITY);
    const weights = keys.map(({ score }) => Math.exp(score - max));
    const sum = weights.reduce((a, b) => a + b);
    lse[stat] = max + Math.log(sum);
    keys.forEach((key, n) => {
      const p = weights[n]! / sum;
      for (let d = 0; d < D; d++) o[row + d]! += p * v![key.row + d]!;
      entropy[stat]! += p * (lse[stat]! - key.score);
    });
  });
  return [o, lse, entropy];
}

/** [dq, dk, dv, dsides] with the weights that lse gives: dS = P (dP - rowsum(dy o)), P = exp(S - lse), dP = dy vᵀ. */
export function attentionBackwardReference(
  sizes: ReferenceSizes,
  [dy, q, k, v, sides, o, lse, mask]: readonly Optional64[],
): [Array64, Array64, Array64, Array64] {
  const { D } = sizes;
  const dq = new Float64Array(q!.length);
  const dk = new Float64Array(k!.length);
  const dv = new Float64Array(k!.length);
  const dsides = new Float64Array(sides?.length ?? 0);
  eachQuery(sizes, [q!, k!, sides, mask], ({ vectors, row, stat, side }, keys) => {
    if (lse![stat] === Number.NEGATIVE_INFINITY) return;
    let delta = 0;
    for (let d = 0; d < D; d++) delta += dy![row + d]! * o![row + d]!;
    for (const key of keys) {
      const p = Math.exp(key.score - lse![stat]!);
      let dp = 0;
      for (let d = 0; d < D; d++) dp += dy![row + d]! * v![key.row + d]!;
      const ds = p * (dp - delta);
      for (let d = 0; d < D; d++) dv[key.row + d]! += p * dy![row + d]!;
      key.byProducts.forEach((slope, n) => {
        for (let d = 0; d < D; d++) {
          dq[vectors + n * D + d]! += ds * slope * k![key.row + d]!;
          dk[key.row + d]! += ds * slope * q![vectors + n * D + d]!;
        }
      });
      if (!sides) continue;
      dsides[side]! += ds * key.bySides[0];
      dsides[side + 1]! += ds * key.bySides[1];
      dsides[key.side]! += ds * key.bySides[2];
    }
  });
  return [dq, dk, dv, dsides];
}

/** The heads [from, to) of each row of x, of `heads` heads of D elements. */
export function takeHeads(x: Array64, heads: number, D: number, from: number, to: number): Array64 {
  const rows = x.length / (heads * D) || 0;
  const out = new Float64Array(rows * (to - from) * D);
  for (let r = 0; r < rows; r++)
    out.set(x.subarray((r * heads + from) * D, (r * heads + to) * D), r * (to - from) * D);
  return out;
}

/** The heads of each list side by side in each row: the reverse of `takeHeads`. */
export function joinHeads(parts: readonly Array64[], heads: readonly number[], D: number): Array64 {
  const all = heads.reduce((a, b) => a + b);
  const rows = parts[0]!.length / (heads[0]! * D);
  const out = new Float64Array(rows * all * D);
  let from = 0;
  parts.forEach((part, n) => {
    const width = heads[n]! * D;
    for (let r = 0; r < rows; r++) out.set(part.subarray(r * width, (r + 1) * width), r * all * D + from);
    from += width;
  });
  return out;
}
