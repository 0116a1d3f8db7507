/** What attention and its gradient, of separate and of packed operands, share: checks, packing, cost. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode } from '../tensor/dtype.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import { scores, vectorsOf } from './attention.score.js';
import {
  type AttentionAttrs,
  type AttentionWalk,
  type PackedAttentionAttrs,
  packedHeads,
  type Rows,
  type ScoredAttentionAttrs,
  type SomeAttentionAttrs,
  sidesSize,
  sizesOf,
  visiblePairs,
} from './attention.walk.js';
import type { InputSpec, Problem } from './contract.js';

const sweepAttrs = { causal: false, window: 0, alibi: false, entropy: false };
export const commonAttrs: AttentionAttrs = { ...sweepAttrs, scale: 0, keys: 0, score: 'dot' };
export const packedAttrs: PackedAttentionAttrs = {
  ...sweepAttrs,
  scale: 0,
  score: 'dot',
  heads: 0,
  kvHeads: 0,
};
export const scoredAttrs: ScoredAttentionAttrs = { ...sweepAttrs, keys: 0, score: 'gram' };

export const maskInput: InputSpec = { name: 'mask', dtypes: ['bool', 'float32'], domain: [-2, 2] };
/** Rows of log-sum-exps for which the weights of the samples stay below 1. */
export const lseInput: InputSpec = { name: 'lse', dtype: 'float32', domain: [3, 5] };
/** Radii, areas and factors of the samples, whatever the score takes them for. */
export const sidesInput: InputSpec = { name: 'sides', dtype: 'float32', domain: [0.2, 2] };
export const small = (name: string): InputSpec => ({ name, domain: [-1, 1] });

const MOST_D = 256;

/** A call as its errors tell it: the op, and every operand with its shape. */
export interface Told {
  op: string;
  all: string;
}
export const tell = (op: string, names: string, inputs: readonly Spec[]): Told => {
  const name = names.split(' ');
  return { op, all: inputs.map((s, i) => `${name[i]} ${show(s.shape)}`).join(', ') };
};

/** Checks q, k, v of one call that takes `scores`. */
export function checkHeads(
  { op, all }: Told,
  [q, k, v]: readonly Spec[],
  attrs: AttentionAttrs | ScoredAttentionAttrs,
  scores: readonly string[],
): void {
  checkAttrs(op, attrs, scores);
  for (const [name, s] of Object.entries({ q: q!, k: k!, v: v! }))
    if (s.rank !== 4)
      throw new ShapeError(`${all}: ${name} is not of rank 4`, {
        op,
        hint: 'q, k and v are [batch, length, heads, D]: reshape first',
      });
  if (k!.shape.join() !== v!.shape.join())
    throw new ShapeError(`${all}: k and v differ`, { op, hint: 'both are [B, Tk, Hkv, D]' });
  const P = vectorsOf(attrs.score);
  if (q!.shape[0] !== k!.shape[0] || q!.shape[3] !== P * k!.shape[3]!)
    throw new ShapeError(`${all}: the first and the last dimension ${P > 1 ? 'do not fit' : 'differ'}`, {
      op,
      hint:
        P > 1
          ? `batch is the same in all three, and q has ${P} vectors of k's head size side by side`
          : 'batch and head size are the same in all three',
    });
  checkSizes({ op, all }, q!.shape[2]!, k!.shape[2]!, k!.shape[3]!);
  if (!Number.isInteger(attrs.keys) || attrs.keys < 0 || attrs.keys > k!.shape[1]!)
    throw new ArgumentError(`keys is ${attrs.keys}, of ${k!.shape[1]} that are stored`, {
      op,
      hint: 'it counts the first rows of k and v that are there; 0: all',
    });
}

/** Checks the sides of queries and keys. */
export function checkSides(
  { op, all }: Told,
  [q, k, sides]: readonly [Spec, Spec, Spec],
  attrs: ScoredAttentionAttrs,
): void {
  const sizes = sizesOf(q.shape, k.shape, attrs);
  const wanted = [sizes.B, sidesSize(sizes)];
  if (sides.shape.join() !== wanted.join())
    throw new ShapeError(`${all}: sides are not ${show(wanted)}`, {
      op,
      hint: 'of each batch entry two numbers for each query and head, then one for each key and its head',
    });
}

export function refuseMaskGradient(op: string, needed: boolean | undefined): void {
  if (needed)
    throw new ArgumentError('no gradient flows into a mask', {
      op,
      hint: 'detach the mask; a learned bias is no part of this op',
    });
}

/** A part of the stored keys has no gradient. */
export function refuseKept(op: string, { keys }: { keys: number }): void {
  if (keys > 0)
    throw new ArgumentError(`no gradient flows where keys is given, and it is ${keys}`, {
      op,
      hint: 'a cache with room is for decoding: slice k and v where their gradients are wanted',
    });
}

/** Checks qkv of one call. */
export function checkPacked(
  { op, all }: Told,
  qkv: Spec,
  attrs: PackedAttentionAttrs,
  scores: readonly string[],
): void {
  checkAttrs(op, attrs, scores);
  for (const name of ['heads', 'kvHeads'] as const)
    if (!Number.isInteger(attrs[name]) || attrs[name] < (name === 'heads' ? 1 : 0))
      throw new ArgumentError(`${name} is ${attrs[name]}`, {
        op,
        hint: 'heads is the number of query heads; kvHeads of key heads, 0 where they are as many',
      });
  const [Hq, Hkv] = packedHeads(attrs);
  if (qkv.rank !== 4 || qkv.shape[2] !== Hq + 2 * Hkv)
    throw new ShapeError(`${all}: qkv does not hold ${Hq} + 2 · ${Hkv} heads`, {
      op,
      hint: 'it is [batch, length, heads + 2 kvHeads, D]: the query heads, then those of keys, then of values',
    });
  checkSizes({ op, all }, Hq, Hkv, qkv.shape[3]!);
}

function checkSizes({ op, all }: Told, Hq: number, Hkv: number, D: number): void {
  if (Hkv < 1 || Hq < 1 || Hq % Hkv !== 0)
    throw new ShapeError(`${all}: ${Hq} query heads cannot share ${Hkv} heads of keys evenly`, {
      op,
      hint: 'the number of query heads is a multiple of that of key heads',
    });
  if (D < 1 || D > MOST_D)
    throw new ShapeError(`${all}: heads of ${D} elements`, { op, hint: `D is from 1 to ${MOST_D}` });
}

function checkAttrs(op: string, attrs: SomeAttentionAttrs, scores: readonly string[]): void {
  const { window, score } = attrs;
  const scale = 'scale' in attrs ? attrs.scale : 0;
  if (!Number.isInteger(window) || window < 0)
    throw new ArgumentError(`window is ${window}`, {
      op,
      hint: 'it is a number of keys; 0 leaves all visible',
    });
  if (!Number.isFinite(scale))
    throw new ArgumentError(`scale is ${scale}`, {
      op,
      hint: "it is a finite number; 0 means the score's own",
    });
  if (!scores.includes(score))
    throw new ArgumentError(`unknown score '${String(score)}'`, {
      op,
      hint: `use one of ${scores.join(', ')}`,
    });
}

/** A mask is of rank 4, every size 1 or that of the scores. */
export function checkMask(
  { op, all }: Told,
  mask: Spec | undefined,
  q: Spec,
  k: Spec,
  attrs: SomeAttentionAttrs,
): void {
  if (!mask) return;
  const { B, Hq, Tq, Tk } = sizesOf(q.shape, k.shape, attrs);
  const wanted = [B, Hq, Tq, Tk];
  if (mask.rank !== 4 || !mask.shape.every((n, axis) => n === 1 || n === wanted[axis]))
    throw new ShapeError(`${all}: the mask does not fit scores ${show(wanted)}`, {
      op,
      hint: 'it is [B, Hq, Tq, Tk], with 1 where it is the same all along; reshape a padding mask to [B, 1, 1, Tk]',
    });
}

/** Checks the operands of a gradient against what the forward call returned. */
export function checkLike(
  { op, all }: Told,
  wanted: Record<string, readonly [got: Spec, shape: Shape]>,
): void {
  for (const [name, [got, shape]] of Object.entries(wanted))
    if (got.shape.join() !== shape.join())
      throw new ShapeError(`${all}: ${name} is not ${show(shape)}`, {
        op,
        hint: 'pass what the forward call returned',
      });
}

/** [o, lse, entropy] of a call. */
export function outputsOf(q: Spec, k: Spec, attrs: SomeAttentionAttrs): Spec[] {
  const { B, Tq, Hq, D } = sizesOf(q.shape, k.shape, attrs);
  const stat = [B, Hq, Tq];
  return [spec([B, Tq, Hq, D], q.dtype), spec(stat, 'float32'), spec(attrs.entropy ? stat : [0], 'float32')];
}

/** Attributes of the CPU kernels: native/cpu/attention.cc reads them in this order. */
export function packCpu(
  problem: Problem<SomeAttentionAttrs>,
  w: AttentionWalk,
  operands: readonly Rows[],
  others: readonly number[],
): number[] {
  const maskKinds = { bool: 1, float32: 2 };
  return [
    dtypeCode[problem.inputs[0]!.dtype],
    scores.indexOf(w.score),
    ...[w.B, w.Tq, w.Tk, w.Hq, w.Hkv, w.D, w.scale, Number(w.causal), w.window, Number(w.alibi)],
    ...(w.mask ? [maskKinds[w.mask.kind], w.mask.operand, ...w.mask.strides] : [0, 0, 0, 0, 0, 0]),
    ...(w.sides ? [w.sides.operand, w.sides.batch, w.sides.keys] : [-1, 0, 0]),
    ...operands.flatMap(({ operand, offset, batch, row, head }) => [operand, offset, batch, row, head]),
    ...others,
  ];
}

/** Products of a query tile and a key tile: 2 forward and 5 backward where a query has one vector. */
export function costOf(problem: Problem<SomeAttentionAttrs>, w: AttentionWalk, pass: 'forward' | 'backward') {
  const products = pass === 'forward' ? w.P + 1 : 3 * w.P + 2;
  return {
    flops: 2 * products * visiblePairs(w) * w.D * w.Hq * w.B,
    bytes: [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0),
    family: 'attention' as const,
  };
}
