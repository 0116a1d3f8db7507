/** What simplicial attention, its gradient and their backends share: sizes, windows, checks. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import type { InputSpec, Problem } from './contract.js';

/** How a query and two keys give a score: native/cpu/simplicial.h and shaders/lib/simplicial.glsl define each. */
export const simplicialScores = ['trilinear', 'determinant'] as const;
export type SimplicialScore = (typeof simplicialScores)[number];

export interface SimplicialAttrs {
  /**
   * Keys of k in reach of a query at position p: p - w1 < j <= p, its own position counted, as the kernels of the paper
   * have it and as `attention` counts its window. Not causal: |j - p| < w1.
   */
  w1: number;
  /** Keys of k2 in reach, likewise. */
  w2: number;
  /** Factor of the trilinear form; 0 is 1/√D. */
  scale: number;
  causal: boolean;
  /** Whether the entropy of each row of weights is computed on the way. */
  entropy: boolean;
  /**
   * 'trilinear': Σ_l q_l k_l k2_l, which a common rotation of q, k, k2 changes. 'determinant': Σ_m det[q_m, k_m, k2_m]
   * over n = ⌊D / 3⌋ chunks of three channels, which rotations within the chunks leave as it is. Chunk m is channels m,
   * n + m, 2 n + m (the paper's are neighbours: another order of the same channels), so that `rope` of 2 n channels in
   * halves turns each chunk about its third axis. Channels from 3 n on take no part in the score.
   */
  score: SimplicialScore;
}

/** The windows are those of the paper's models. */
export const simplicialAttrs: SimplicialAttrs = {
  w1: 512,
  w2: 32,
  scale: 0,
  causal: true,
  entropy: false,
  score: 'trilinear',
};

/** q is [B, Tq, Hq, D]; k, v, k2, v2 are [B, Tk, Hkv, D]. The last query stands at the last key. */
export interface SimplicialSizes {
  B: number;
  Tq: number;
  Tk: number;
  Hq: number;
  Hkv: number;
  D: number;
  /** Windows no wider than there are keys. */
  w1: number;
  w2: number;
  scale: number;
  causal: boolean;
  score: SimplicialScore;
}

export function simplicialSizes(q: Shape, k: Shape, attrs: SimplicialAttrs): SimplicialSizes {
  const [B, Tq, Hq, D] = q as [number, number, number, number];
  const [, Tk, Hkv] = k as [number, number, number, number];
  const { scale, causal, score } = attrs;
  const most = Math.max(1, Tk);
  return {
    ...{ B, Tq, Tk, Hq, Hkv, D, causal, score },
    w1: Math.min(attrs.w1, most),
    w2: Math.min(attrs.w2, most),
    scale: scale || 1 / Math.sqrt(D),
  };
}

/** Keys [from, to) that a window of w leaves to query i, masks aside. */
export function reach(
  { Tq, Tk, causal }: Pick<SimplicialSizes, 'Tq' | 'Tk' | 'causal'>,
  w: number,
  i: number,
): [from: number, to: number] {
  const at = i + Tk - Tq;
  const from = Math.min(Tk, Math.max(0, at - w + 1));
  return [from, Math.max(from, Math.min(Tk, causal ? at + 1 : at + w))];
}

/** Pairs of keys that the queries of one head see, masks aside: what the work is proportional to. */
export function pairsOf(sizes: SimplicialSizes): number {
  let pairs = 0;
  for (let i = 0; i < sizes.Tq; i++) {
    const [[a, b], [c, d]] = [reach(sizes, sizes.w1, i), reach(sizes, sizes.w2, i)];
    pairs += (b - a) * (d - c);
  }
  return pairs;
}

/** `products` of a trilinear form and its kind, 2 D operations a pair each: 2 forward, 6 backward. */
export function costOf(problem: Problem<SimplicialAttrs>, sizes: SimplicialSizes, products: number) {
  return {
    flops: 2 * products * pairsOf(sizes) * sizes.D * sizes.Hq * sizes.B,
    bytes: [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0),
    family: 'attention' as const,
  };
}

export const small = (name: string): InputSpec => ({ name, domain: [-1, 1] });
export const maskInput: InputSpec = { name: 'mask', dtype: 'bool', domain: [0, 1] };

const MOST_D = 256;

/** Checks the operands of a call, named in order; returns [o, lse, entropy]. */
export function checkSimplicial(
  op: string,
  operands: Readonly<Record<'q' | 'k' | 'v' | 'k2' | 'v2', Spec>> & { mask?: Spec | undefined },
  attrs: SimplicialAttrs,
): Spec[] {
  const { q, k, mask } = operands;
  const all = Object.entries(operands)
    .flatMap(([name, s]) => (s ? [`${name} ${show(s.shape)}`] : []))
    .join(', ');
  const refuse = (what: string, hint: string): never => {
    throw new ShapeError(`${all}: ${what}`, { op, hint });
  };
  if (q.rank !== 4 || k.rank !== 4)
    refuse('q or k is not of rank 4', 'they are [batch, length, heads, D]: reshape first');
  for (const name of ['v', 'k2', 'v2'] as const)
    if (operands[name].shape.join() !== k.shape.join())
      refuse(`k and ${name} differ`, 'k, v, k2 and v2 are [B, Tk, Hkv, D]');
  if (q.shape[0] !== k.shape[0] || q.shape[3] !== k.shape[3])
    refuse('the first and the last dimension differ', 'batch and head size are the same in all');
  const [B, Tq, Hq, D] = q.shape as [number, number, number, number];
  const [, Tk, Hkv] = k.shape as [number, number, number, number];
  if (Hkv < 1 || Hq < 1 || Hq % Hkv !== 0)
    refuse(
      `${Hq} query heads cannot share ${Hkv} heads of keys evenly`,
      'the number of query heads is a multiple of that of key heads',
    );
  const least = attrs.score === 'determinant' ? 3 : 1;
  if (D < least || D > MOST_D) refuse(`heads of ${D} elements`, `D is from ${least} to ${MOST_D}`);
  if (mask && mask.shape.join() !== [B, Tk].join())
    refuse(`the mask is not ${show([B, Tk])}`, 'it tells of each key whether it may be seen');
  checkAttrs(op, attrs);
  return [
    spec([B, Tq, Hq, D], q.dtype),
    spec([B, Hq, Tq], 'float32'),
    spec(attrs.entropy ? [B, Hq, Tq] : [0], 'float32'),
  ];
}

function checkAttrs(op: string, attrs: SimplicialAttrs): void {
  for (const name of ['w1', 'w2'] as const)
    if (!Number.isInteger(attrs[name]) || attrs[name] < 1)
      throw new ArgumentError(`${name} is ${attrs[name]}`, {
        op,
        hint: 'it is a number of keys, 1 or more: a query sees at least those at its own position',
      });
  if (!Number.isFinite(attrs.scale))
    throw new ArgumentError(`scale is ${attrs.scale}`, { op, hint: 'it is a finite number; 0 means 1/√D' });
  if (!simplicialScores.includes(attrs.score))
    throw new ArgumentError(`unknown score '${String(attrs.score)}'`, {
      op,
      hint: `use one of ${simplicialScores.join(', ')}`,
    });
}
