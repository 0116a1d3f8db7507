/** How attention reads its operands: what its backends share, whether q, k, v are tensors or parts of one. */
import type { Shape, Spec } from '../tensor/shape.js';
import type { Problem } from './contract.js';

/** How a query and a key give a score: native/cpu/attention_score.h and shaders/lib/attention_score.glsl define each. */
export const scores = ['dot'] as const;
export type Score = (typeof scores)[number];

export interface AttentionAttrs {
  /** Key j is visible to query i where j <= i + (Tk - Tq): the last query sees every key. */
  causal: boolean;
  /** Above 0, only keys with |j - (i + Tk - Tq)| < window are visible. */
  window: number;
  /** Factor of q · k; 0 is 1/√D. */
  scale: number;
  /** Whether the entropy of each row of weights is computed on the way. */
  entropy: boolean;
  score: Score;
}

export interface PackedAttentionAttrs extends AttentionAttrs {
  /** Query heads: the first in qkv, before the heads of the keys and of the values. */
  heads: number;
  /** Heads of the keys, and of the values; 0 is as many as query heads. */
  kvHeads: number;
}

/** Of operand number `operand` (inputs, then outputs), element (b, t, h, d) is at offset + (b T + t) row + h D + d. */
export interface Rows {
  operand: number;
  offset: number;
  row: number;
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
  Hq: number;
  Hkv: number;
  D: number;
  scale: number;
  causal: boolean;
  window: number;
  score: Score;
  q: Rows;
  k: Rows;
  v: Rows;
  o: Rows;
  /** Operand number of the log-sum-exp, [B, Hq, Tq]. */
  lse: number;
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
}

const isPacked = (attrs: AttentionAttrs): attrs is PackedAttentionAttrs => 'heads' in attrs;

/** The heads that share a packed tensor: of the queries, and of the keys as of the values. */
export const packedHeads = ({ heads, kvHeads }: PackedAttentionAttrs): [Hq: number, Hkv: number] => [
  heads,
  kvHeads || heads,
];

type Sizes = Pick<AttentionWalk, 'B' | 'Tq' | 'Tk' | 'Hq' | 'Hkv' | 'D'>;

/** Sizes by the specs of q and k, or of qkv alone. */
export function sizesOf(q: Shape, k: Shape, attrs: AttentionAttrs): Sizes {
  const [B, Tq, Hq, D] = q as [number, number, number, number];
  if (!isPacked(attrs)) return { B, Tq, Tk: k[1]!, Hq, Hkv: k[2]!, D };
  const [heads, kvHeads] = packedHeads(attrs);
  return { B, Tq, Tk: Tq, Hq: heads, Hkv: kvHeads, D };
}

function walk(
  problem: Problem<AttentionAttrs>,
  at: { q: number; k: number; v: number; o: number; lse: number; mask: number },
): AttentionWalk {
  const { inputs, attrs } = problem;
  const sizes = sizesOf(inputs[at.q]!.shape, inputs[at.k]!.shape, attrs);
  const [q, k, v] = rowsOf(sizes, isPacked(attrs), [at.q, at.k, at.v]);
  return {
    ...sizes,
    scale: attrs.scale || 1 / Math.sqrt(sizes.D),
    causal: attrs.causal,
    window: attrs.window,
    score: attrs.score,
    q,
    k,
    v,
    o: { operand: at.o, offset: 0, row: sizes.Hq * sizes.D },
    lse: at.lse,
    mask: inputs[at.mask] && maskOf(at.mask, inputs[at.mask]!),
  };
}

/** Queries, keys, values (or their gradients) in three operands, or one after the other in each row of one. */
function rowsOf({ Hq, Hkv, D }: Sizes, packed: boolean, operands: [number, number, number]) {
  const [q, k, v] = operands;
  const row = (Hq + 2 * Hkv) * D;
  return packed
    ? ([
        { operand: q, offset: 0, row },
        { operand: k, offset: Hq * D, row },
        { operand: v, offset: (Hq + Hkv) * D, row },
      ] as const)
    : ([
        { operand: q, offset: 0, row: Hq * D },
        { operand: k, offset: 0, row: Hkv * D },
        { operand: v, offset: 0, row: Hkv * D },
      ] as const);
}

function maskOf(operand: number, { shape, dtype }: Spec): Mask {
  const strides = [0, 0, 0, 0] as [number, number, number, number];
  for (let axis = 3, step = 1; axis >= 0; step *= shape[axis]!, axis--)
    if (shape[axis] !== 1) strides[axis] = step;
  return { operand, kind: dtype === 'bool' ? 'bool' : 'float32', strides };
}

/** Of `attention` (q, k, v, mask?) -> (o, lse, entropy) and `packed_attention` (qkv, mask?) -> the same. */
export function walkForward(problem: Problem<AttentionAttrs>): ForwardWalk {
  const { inputs, attrs } = problem;
  const out = inputs.length;
  const [k, v, mask] = isPacked(attrs) ? [0, 0, 1] : [1, 2, 3];
  return {
    ...walk(problem, { q: 0, k, v, o: out, lse: out + 1, mask }),
    entropy: attrs.entropy ? out + 2 : undefined,
  };
}

/** Of `attention_backward` (dy, q, k, v, o, lse, mask?) -> (dq, dk, dv) and its packed form -> dqkv. */
export function walkBackward(problem: Problem<AttentionAttrs>): BackwardWalk {
  const { inputs, attrs } = problem;
  const packed = isPacked(attrs);
  const walked = walk(
    problem,
    packed ? { q: 1, k: 1, v: 1, o: 2, lse: 3, mask: 4 } : { q: 1, k: 2, v: 3, o: 4, lse: 5, mask: 6 },
  );
  const out = inputs.length;
  const [dq, dk, dv] = rowsOf(walked, packed, packed ? [out, out, out] : [out, out + 1, out + 2]);
  return { ...walked, dy: { ...walked.o, operand: 0 }, dq, dk, dv };
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
