/** Attention and its gradient in Float64, one query at a time: the oracle of every kernel. */
import { visibleKeys } from './attention.walk.js';

type Array64 = Float64Array;

import type { AttentionWalk } from './attention.walk.js';

/** q, o are [B, Tq, Hq, D]; k, v are [B, Tk, Hkv, D]; lse and entropy are [B, Hq, Tq]. */
export interface ReferenceSizes
  extends Pick<AttentionWalk, 'B' | 'Tq' | 'Tk' | 'Hq' | 'Hkv' | 'D' | 'scale' | 'causal' | 'window'> {
  mask: { kind: 'bool' | 'float32'; strides: readonly [number, number, number, number] } | undefined;
}

/** Calls `visit` for each query, with its index, those of its row of q and of lse, its keys' rows, and their scores. */
function eachQuery(
  sizes: ReferenceSizes,
  [q, k, mask]: readonly [Array64, Array64, Array64 | undefined],
  visit: (row: number, stat: number, keys: readonly number[], scores: readonly number[]) => void,
): void {
  const { B, Tq, Tk, Hq, Hkv, D, scale } = sizes;
  for (let b = 0; b < B; b++)
    for (let h = 0; h < Hq; h++)
      for (let i = 0; i < Tq; i++) {
        const row = ((b * Tq + i) * Hq + h) * D;
        const keys: number[] = [];
        const scores: number[] = [];
        const [from, to] = visibleKeys(sizes, i);
        for (let j = from; j < to; j++) {
          const key = ((b * Tk + j) * Hkv + Math.floor(h / (Hq / Hkv))) * D;
          let score = 0;
          for (let d = 0; d < D; d++) score += q[row + d]! * k[key + d]!;
          score *= scale;
          if (sizes.mask) {
            const [sb, sh, si, sj] = sizes.mask.strides;
            const value = mask![b * sb + h * sh + i * si + j * sj]!;
            if (sizes.mask.kind === 'float32') score += value;
            else if (value === 0) continue;
          }
          if (score === Number.NEGATIVE_INFINITY) continue;
          keys.push(key);
          scores.push(score);
        }
        visit(row, (b * Hq + h) * Tq + i, keys, scores);
      }
}

/** [o, lse, entropy]. A query that sees no key has o = 0, lse = -inf, entropy 0. */
export function attentionReference(
  sizes: ReferenceSizes,
  [q, k, v, mask]: readonly (Array64 | undefined)[],
): [Array64, Array64, Array64] {
  const { B, Tq, Hq, D } = sizes;
  const o = new Float64Array(q!.length);
  const lse = new Float64Array(B * Hq * Tq).fill(Number.NEGATIVE_INFINITY);
  const entropy = new Float64Array(B * Hq * Tq);
  eachQuery(sizes, [q!, k!, mask], (row, stat, keys, scores) => {
    if (keys.length === 0) return;
    const max = scores.reduce((a, b) => Math.max(a, b));
    const weights = scores.map((s) => Math.exp(s - max));
    const sum = weights.reduce((a, b) => a + b);
    lse[stat] = max + Math.log(sum);
    keys.forEach((key, n) => {
      const p = weights[n]! / sum;
      for (let d = 0; d < D; d++) o[row + d]! += p * v![key + d]!;
      entropy[stat]! += p * (lse[stat]! - scores[n]!);
    });
  });
  return [o, lse, entropy];
}

/** [dq, dk, dv] with the weights that lse gives: dS = P (dP - rowsum(dy o)), P = exp(S - lse), dP = dy vᵀ. */
export function attentionBackwardReference(
  sizes: ReferenceSizes,
  [dy, q, k, v, o, lse, mask]: readonly (Array64 | undefined)[],
): [Array64, Array64, Array64] {
  const { D, scale } = sizes;
  const dq = new Float64Array(q!.length);
  const dk = new Float64Array(k!.length);
  const dv = new Float64Array(k!.length);
  eachQuery(sizes, [q!, k!, mask], (row, stat, keys, scores) => {
    if (lse![stat] === Number.NEGATIVE_INFINITY) return;
    let delta = 0;
    for (let d = 0; d < D; d++) delta += dy![row + d]! * o![row + d]!;
    keys.forEach((key, n) => {
      const p = Math.exp(scores[n]! - lse![stat]!);
      let dp = 0;
      for (let d = 0; d < D; d++) dp += dy![row + d]! * v![key + d]!;
      const ds = p * (dp - delta) * scale;
      for (let d = 0; d < D; d++) {
        dv[key + d]! += p * dy![row + d]!;
        dq[row + d]! += ds * k![key + d]!;
        dk[key + d]! += ds * q![row + d]!;
      }
    });
  });
  return [dq, dk, dv];
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
