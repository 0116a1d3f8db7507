/** What attention and its gradient, of separate and of packed operands, share: checks, packing, cost, samples. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode } from '../tensor/dtype.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import {
  type AttentionAttrs,
  type AttentionWalk,
  type PackedAttentionAttrs,
  packedHeads,
  type Rows,
  scores,
  sizesOf,
  visiblePairs,
} from './attention.walk.js';
import type { InputSpec, Problem, Sample } from './contract.js';

export const commonAttrs: AttentionAttrs = {
  causal: false,
  window: 0,
  scale: 0,
  entropy: false,
  score: 'dot',
};
export const packedAttrs: PackedAttentionAttrs = { ...commonAttrs, heads: 0, kvHeads: 0 };

export const maskInput: InputSpec = { name: 'mask', dtypes: ['bool', 'float32'], domain: [-2, 2] };
/** Rows of log-sum-exps for which the weights of the samples stay below 1. */
export const lseInput: InputSpec = { name: 'lse', dtype: 'float32', domain: [3, 5] };
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

/** Checks q, k, v of one call. */
export function checkHeads({ op, all }: Told, [q, k, v]: readonly Spec[], attrs: AttentionAttrs): void {
  for (const [name, s] of Object.entries({ q: q!, k: k!, v: v! }))
    if (s.rank !== 4)
      throw new ShapeError(`${all}: ${name} is not of rank 4`, {
        op,
        hint: 'q, k and v are [batch, length, heads, D]: reshape first',
      });
  if (k!.shape.join() !== v!.shape.join())
    throw new ShapeError(`${all}: k and v differ`, { op, hint: 'both are [B, Tk, Hkv, D]' });
  if (q!.shape[0] !== k!.shape[0] || q!.shape[3] !== k!.shape[3])
    throw new ShapeError(`${all}: the first and the last dimension differ`, {
      op,
      hint: 'batch and head size are the same in all three',
    });
  checkSizes({ op, all }, q!.shape[2]!, k!.shape[2]!, q!.shape[3]!);
  checkAttrs(op, attrs);
}

/** Checks qkv of one call. */
export function checkPacked({ op, all }: Told, qkv: Spec, attrs: PackedAttentionAttrs): void {
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
  checkAttrs(op, attrs);
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

function checkAttrs(op: string, { window, scale, score }: AttentionAttrs): void {
  if (!Number.isInteger(window) || window < 0)
    throw new ArgumentError(`window is ${window}`, {
      op,
      hint: 'it is a number of keys; 0 leaves all visible',
    });
  if (!Number.isFinite(scale))
    throw new ArgumentError(`scale is ${scale}`, { op, hint: 'it is a finite number; 0 means 1/√D' });
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
  attrs: AttentionAttrs,
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
export function outputsOf(q: Spec, k: Spec, attrs: AttentionAttrs): Spec[] {
  const { B, Tq, Hq, D } = sizesOf(q.shape, k.shape, attrs);
  const stat = [B, Hq, Tq];
  return [spec([B, Tq, Hq, D], q.dtype), spec(stat, 'float32'), spec(attrs.entropy ? stat : [0], 'float32')];
}

/** Attributes of the CPU kernels: native/cpu/attention.cc reads them in this order. */
export function packCpu(
  problem: Problem<AttentionAttrs>,
  w: AttentionWalk,
  operands: readonly Rows[],
  stats: readonly number[],
): number[] {
  const maskKinds = { bool: 1, float32: 2 };
  return [
    dtypeCode[problem.inputs[0]!.dtype],
    scores.indexOf(w.score),
    ...[w.B, w.Tq, w.Tk, w.Hq, w.Hkv, w.D, w.scale, Number(w.causal), w.window],
    ...(w.mask ? [maskKinds[w.mask.kind], w.mask.operand, ...w.mask.strides] : [0, 0, 0, 0, 0, 0]),
    ...operands.flatMap(({ operand, offset, row }) => [operand, offset, row]),
    ...stats,
  ];
}

/** `matmuls` products of a query tile and a key tile: 2 forward, 5 backward. */
export function costOf(problem: Problem<AttentionAttrs>, w: AttentionWalk, matmuls: number) {
  return {
    flops: 2 * matmuls * visiblePairs(w) * w.D * w.Hq * w.B,
    bytes: [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0),
    family: 'attention' as const,
  };
}

/** Sizes of a sample; the operands' shapes follow. */
export interface Case {
  B?: number;
  T: number;
  Tk?: number;
  Hq?: number;
  Hkv?: number;
  D: number;
  attrs?: Partial<AttentionAttrs>;
  /** Which dimensions of the mask are full: of b, h, i, j. */
  mask?: string;
  maskDType?: 'bool' | 'float32';
  dtypes?: Sample<object>['dtypes'];
  heavy?: boolean;
}

/** Every head size that kernels have a path for, every mask, and sizes that no tile divides. */
export const cases: readonly Case[] = [
  { T: 7, D: 8, attrs: { causal: true, entropy: true } }, // small, odd, all outputs there: the self-tests' choice
  { T: 5, D: 8 },
  { T: 1, D: 16, attrs: { causal: true } },
  { T: 37, D: 16, Hq: 2, attrs: { causal: true, entropy: true } },
  { T: 64, D: 16, B: 2, Hq: 2, attrs: { causal: true } },
  { T: 9, D: 1, attrs: { causal: true } },
  { T: 21, D: 5, Hq: 2 },
  { T: 70, D: 32, attrs: { causal: true } },
  { T: 33, D: 40, Hq: 2, attrs: { causal: true } },
  { T: 67, D: 64, attrs: { entropy: true } },
  { T: 130, D: 64, attrs: { causal: true } },
  { T: 19, D: 80, attrs: { causal: true } },
  { T: 18, D: 128, attrs: { causal: true } },
  { T: 17, D: 256, attrs: { causal: true } },
  { T: 35, D: 24, attrs: { causal: true, window: 7 } },
  { T: 34, D: 16, attrs: { window: 5, entropy: true } },
  { T: 150, D: 16, attrs: { causal: true, window: 1 } },
  { T: 20, D: 16, Hq: 6, Hkv: 2, attrs: { causal: true } },
  { T: 12, D: 16, Hq: 4, Hkv: 1, attrs: { scale: 0.5 } },
  { T: 12, D: 16, attrs: { scale: -0.4, causal: true } },
  { B: 2, T: 23, D: 16, Hq: 2, mask: 'bhij' },
  { B: 2, T: 23, D: 16, Hq: 2, mask: 'bhij', maskDType: 'float32' },
  { B: 3, T: 18, D: 16, Hq: 2, mask: 'bj', attrs: { causal: true } },
  { B: 3, T: 40, D: 8, mask: 'bi', attrs: { entropy: true } }, // whole rows are masked
  { B: 2, T: 18, D: 16, mask: 'ij', maskDType: 'float32', attrs: { causal: true } },
  { B: 2, T: 18, D: 16, Hq: 4, Hkv: 2, mask: 'h', maskDType: 'float32' },
  { B: 0, T: 4, D: 16 },
  { T: 0, D: 16 },
  { T: 300, D: 64, Hq: 2, attrs: { causal: true }, heavy: true },
  { B: 2, T: 519, D: 16, Hq: 2, Hkv: 1, attrs: { causal: true, window: 200, entropy: true }, heavy: true },
  { T: 257, D: 32, mask: 'ij', heavy: true },
];

/** What only separate operands can have: as many keys as they like. */
export const unequalCases: readonly Case[] = [
  { T: 1, Tk: 40, D: 16, Hq: 4, Hkv: 2, attrs: { causal: true } },
  { T: 7, Tk: 30, D: 32, attrs: { causal: true } },
  { T: 30, Tk: 7, D: 16, attrs: { causal: true, entropy: true } }, // the first queries see no key
  { T: 30, Tk: 50, D: 16, attrs: { window: 4 } },
  { B: 2, T: 6, Tk: 19, D: 16, Hq: 2, mask: 'bj' },
  { T: 4, Tk: 0, D: 16, attrs: { entropy: true } },
  { T: 0, Tk: 4, D: 16 },
  { T: 3, Tk: 1000, D: 64, attrs: { causal: true }, heavy: true },
];

/** Sizes with the defaults filled in, and the mask's shape as a list of none or one. */
export function fullCase({ B = 1, T, Tk = T, Hq = 1, Hkv = Hq, D, mask }: Case) {
  const masks =
    mask === undefined ? [] : [[B, Hq, T, Tk].map((n, axis) => (mask.includes('bhij'[axis]!) ? n : 1))];
  return { B, T, Tk, Hq, Hkv, D, masks };
}

/** The parts of a sample that do not depend on how q, k, v are stored; the mask is input number `maskAt`. */
export const sampleOf = (c: Case, maskAt: number) => ({
  ...(c.attrs && { attrs: c.attrs }),
  ...(c.dtypes && { dtypes: c.dtypes }),
  ...(c.heavy && { heavy: true }),
  ...(c.maskDType && { inputDTypes: [...new Array<undefined>(maskAt), c.maskDType] }),
});
