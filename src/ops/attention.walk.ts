/** How attention reads its operands: what its backends share, whether q, k, v are tensors or parts of one. */
import type { Shape, Spec } from '../tensor/shape.js';
import { type ProductScore, type Score, type SidedScore, usualScale, vectorsOf } from './attention.score.js';
import type { Problem } from './contract.js';

/** What every attention op takes. */
interface SweepAttrs {
  /** Key j is visible to query i where j <= i + (Tk - Tq): the last query sees every key. */
  causal: boolean;
  /** Above 0, only keys with |j - (i + Tk - Tq)| < window are visible. */
  window: number;
  /** Scores fall with the distance of query and key: less 2^(-8 (h + 1) / Hq) |i + Tk - Tq - j| for query head h. */
  alibi: boolean;
  /** Whether the entropy of each row of weights is computed on the way. */
  entropy: boolean;
}

interface KeptAttrs {
  /**
   * Above 0, only the first so many rows of k and v (and of the keys' sides) are there: Tk is their number, whatever is
   * stored, as in a cache with room. Such calls have no gradient.
   */
  keys: number;
}

interface ProductAttrs {
  /** Factor of the score; 0 is 1/√D for 'dot' and 1 for 'born'. */
  scale: number;
  score: ProductScore;
}

export interface AttentionAttrs extends SweepAttrs, KeptAttrs, ProductAttrs {}

export interface PackedAttentionAttrs extends SweepAttrs, ProductAttrs {
  /** Query heads: the first in qkv, before the heads of the keys and of the values. */
  heads: number;
  /** Heads of the keys, and of the values; 0 is as many as query heads. */
  kvHeads: number;
}

export interface ScoredAttentionAttrs extends SweepAttrs, KeptAttrs {
  score: SidedScore;
}

/** Of any of them. */
export type SomeAttentionAttrs = AttentionAttrs | PackedAttentionAttrs | ScoredAttentionAttrs;

/** Of operand number `operand` (inputs, then outputs), element (b, t, h, d) is at offset + b batch + t row + h head + d. */
export interface Rows {
  operand: number;
  offset: number;
  batch: number;
  row: number;
  head: number;
}

/**
 * Numbers beside queries and keys, float32 [B, batch]: number n of query (t, h) is at b batch + (t Hq + h) 2 + n, that of
 * key (t, h) at b batch + keys + t Hkv + h.
 */
export interface Sides {
  operand: number;
  batch: number;
  keys: number;
}

export interface Mask {
  operand: number;
  kind: 'bool' | 'float32';
  /** Elements between successive b, h, i, j; 0 where the mask is stretched. */
  strides: readonly [b: number, h: number, i: number, j: number];
}

/** Sizes, as the mathematics names them, and where the operands lie. */
export interface AttentionWalk {
  B: number;
  Tq: number;
  Tk: number;
  /** Rows of k and v that are stored: Tk, or more. */
  kept: number;
  Hq: number;
  Hkv: number;
  D: number;
  /** Vectors of D elements to a query and head. */
  P: number;
  scale: number;
  causal: boolean;
  window: number;
  alibi: boolean;
  score: Score;
  q: Rows;
  k: Rows;
  v: Rows;
  o: Rows;
  /** Operand number of the log-sum-exp, [B, Hq, Tq]. */
  lse: number;
  /** Undefined where the score has none. */
  sides: Sides | undefined;
  mask: Mask | undefined;
}

export interface ForwardWalk extends AttentionWalk {
  /** Operand number of the entropy, [B, Hq, Tq]; undefined where it is not wanted. */
  entropy: number | undefined;
}

export interface BackwardWalk extends AttentionWalk {
  dy: Rows;
  dq: Rows;
  dk: Rows;
  dv: Rows;
  /** Laid out as `sides`. */
  dsides: Sides | undefined;
}

const isPacked = (attrs: SomeAttentionAttrs): attrs is PackedAttentionAttrs => 'heads' in attrs;
const isScored = (attrs: SomeAttentionAttrs): attrs is ScoredAttentionAttrs => !('scale' in attrs);

/** The heads that share a packed tensor: of the queries, and of the keys as of the values. */
export const packedHeads = ({ heads, kvHeads }: PackedAttentionAttrs): [Hq: number, Hkv: number] => [
  heads,
  kvHeads || heads,
];

type Sizes = Pick<AttentionWalk, 'B' | 'Tq' | 'Tk' | 'kept' | 'Hq' | 'Hkv' | 'D' | 'P'>;

/** Sizes by the specs of q and k, or of qkv alone. */
export function sizesOf(q: Shape, k: Shape, attrs: SomeAttentionAttrs): Sizes {
  const [B, Tq, Hq, width] = q as [number, number, number, number];
  if (isPacked(attrs)) {
    const [heads, kvHeads] = packedHeads(attrs);
    return { B, Tq, Tk: Tq, kept: Tq, Hq: heads, Hkv: kvHeads, D: width, P: 1 };
  }
  const P = vectorsOf(attrs.score);
  return { B, Tq, Tk: attrs.keys || k[1]!, kept: k[1]!, Hq, Hkv: k[2]!, D: width / P, P };
}

/** Numbers of a batch entry's sides. */
export const sidesSize = ({ Tq, kept, Hq, Hkv }: Omit<Sizes, 'D' | 'P' | 'B' | 'Tk'>): number =>
  Tq * Hq * 2 + kept * Hkv;

interface Places {
  q: number;
  k: number;
  v: number;
  sides?: number;
  o: number;
  lse: number;
  mask: number;
}

function walk({ inputs, attrs }: Problem<SomeAttentionAttrs>, at: Places): AttentionWalk {
  const sizes = sizesOf(inputs[at.q]!.shape, inputs[at.k]!.shape, attrs);
  const [q, k, v] = rowsOf(sizes, isPacked(attrs), [at.q, at.k, at.v]);
  const { Tq, Hq, D } = sizes;
  return {
    ...sizes,
    scale: (isScored(attrs) ? 0 : attrs.scale) || usualScale(attrs.score, D),
    causal: attrs.causal,
    window: attrs.window,
    alibi: attrs.alibi,
    score: attrs.score,
    q,
    k,
    v,
    o: { operand: at.o, offset: 0, batch: Tq * Hq * D, row: Hq * D, head: D },
    lse: at.lse,
    sides: at.sides === undefined ? undefined : sidesOf(sizes, at.sides),
    mask: inputs[at.mask] && maskOf(at.mask, inputs[at.mask]!),
  };
}

const sidesOf = (sizes: Sizes, operand: number): Sides => ({
  operand,
  batch: sidesSize(sizes),
  keys: sizes.Tq * sizes.Hq * 2,
});

/** Queries, keys, values (or their gradients) in three operands, or one after the other in each row of one. */
function rowsOf(
  { Tq, kept, Hq, Hkv, D, P }: Sizes,
  packed: boolean,
  operands: readonly [number, number, number],
): readonly [Rows, Rows, Rows] {
  const rows = (n: 0 | 1 | 2, length: number, row: number, offset: number, head: number): Rows => ({
    operand: operands[n],
    offset,
    batch: length * row,
    row,
    head,
  });
  if (packed) {
    const row = (Hq + 2 * Hkv) * D;
    return [rows(0, Tq, row, 0, D), rows(1, Tq, row, Hq * D, D), rows(2, Tq, row, (Hq + Hkv) * D, D)];
  }
  const keys = Hkv * D;
  return [rows(0, Tq, Hq * P * D, 0, P * D), rows(1, kept, keys, 0, D), rows(2, kept, keys, 0, D)];
}

function maskOf(operand: number, { shape, dtype }: Spec): Mask {
  const strides = [0, 0, 0, 0] as [number, number, number, number];
  for (let axis = 3, step = 1; axis >= 0; step *= shape[axis]!, axis--)
    if (shape[axis] !== 1) strides[axis] = step;
  return { operand, kind: dtype === 'bool' ? 'bool' : 'float32', strides };
}

/**
 * Of `attention` (q, k, v, mask?) -> (o, lse, entropy), `packed_attention` (qkv, mask?) -> the same and
 * `scored_attention` (q, k, v, sides, mask?) -> the same.
 */
export function walkForward(problem: Problem<SomeAttentionAttrs>): ForwardWalk {
  const { inputs, attrs } = problem;
  const out = inputs.length;
  const at = isPacked(attrs)
    ? { q: 0, k: 0, v: 0, mask: 1 }
    : isScored(attrs)
      ? { q: 0, k: 1, v: 2, sides: 3, mask: 4 }
      : { q: 0, k: 1, v: 2, mask: 3 };
  return {
    ...walk(problem, { ...at, o: out, lse: out + 1 }),
    entropy: attrs.entropy ? out + 2 : undefined,
  };
}

/**
 * Of `attention_backward` (dy, q, k, v, o, lse, mask?) -> (dq, dk, dv), its packed form -> dqkv, and
 * `scored_attention_backward` (dy, q, k, v, sides, o, lse, mask?) -> (dq, dk, dv, dsides).
 */
export function walkBackward(problem: Problem<SomeAttentionAttrs>): BackwardWalk {
  const { inputs, attrs } = problem;
  const packed = isPacked(attrs);
  const walked = walk(
    problem,
    packed
      ? { q: 1, k: 1, v: 1, o: 2, lse: 3, mask: 4 }
      : isScored(attrs)
        ? { q: 1, k: 2, v: 3, sides: 4, o: 5, lse: 6, mask: 7 }
        : { q: 1, k: 2, v: 3, o: 4, lse: 5, mask: 6 },
  );
  const out = inputs.length;
  const [dq, dk, dv] = rowsOf(walked, packed, packed ? [out, out, out] : [out, out + 1, out + 2]);
  const dsides = walked.sides && sidesOf(walked, out + 3);
  return { ...walked, dy: { ...walked.o, operand: 0 }, dq, dk, dv, dsides };
}

/** Of query i, the first key that causal order and window leave visible, and the one after the last. */
export function visibleKeys(
  { Tq, Tk, causal, window }: Pick<AttentionWalk, 'Tq' | 'Tk' | 'causal' | 'window'>,
  i: number,
): [from: number, to: number] {
  const at = i + Tk - Tq;
  const from = window > 0 ? Math.max(0, at - window + 1) : 0;
  const to = Math.min(Tk, causal ? at + 1 : Tk, window > 0 ? at + window : Tk);
  return [from, Math.max(from, to)];
}

/** Pairs of a query and a key that it sees, of one head: what the work is proportional to. */
export function visiblePairs(sizes: Pick<AttentionWalk, 'Tq' | 'Tk' | 'causal' | 'window'>): number {
  if (!sizes.causal && sizes.window === 0) return sizes.Tq * sizes.Tk;
  let pairs = 0;
  for (let i = 0; i < sizes.Tq; i++) {
    const [from, to] = visibleKeys(sizes, i);
    pairs += to - from;
  }
  return pairs;
}
