/** What holographic attention and its gradient share: sizes, checks, samples. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode } from '../tensor/dtype.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import type { InputSpec, Problem, Sample } from './contract.js';

export interface HoloAttrs {
  /** Heads of values, H; queries and keys have `copies` times as many. */
  heads: number;
  /** Bindings of each value under keys of its own, whose readings are averaged. */
  copies: number;
}

export const attrs: HoloAttrs = { heads: 0, copies: 1 };

/** Tokens between the states that forward keeps; backward makes those in between again. */
export const CHUNK = 32; // = native/cpu/holo_attention.h, shaders/lib/holo.glsl
/** Least modulus that a key or query is divided by. */
export const LEAST_MODULUS = 1e-6; // likewise
const MOST_COPIES = 64;

export const inputs = {
  qkv: { name: 'qkv', domain: [-1, 1] },
  decay: { name: 'decay', dtype: 'float32', domain: [-0.5, 0] },
  keep: { name: 'keep', dtype: 'bool', domain: [0, 1] },
  state: { name: 'state', dtype: 'float32', domain: [0.5, 2] },
} satisfies Record<string, InputSpec>;

export interface HoloWalk {
  B: number;
  T: number;
  H: number;
  R: number;
  /** Channels of a head: F real parts, then F imaginary ones. */
  D: number;
  F: number;
  /** Numbers of a head's state: real and imaginary parts of each copy, then n. */
  S: number;
  chunks: number;
  decay: boolean;
  keep: boolean;
  state: boolean;
}

/** An operand that may be missing: left out, or of shape [0] where another follows. */
export const given = (s: Pick<Spec, 'rank'> | undefined): boolean => s !== undefined && s.rank !== 1;

export function sizesOf(
  qkv: Spec,
  { heads, copies }: HoloAttrs,
  [decay, keep, state]: readonly (Spec | undefined)[],
): HoloWalk {
  const [B, T, , D] = qkv.shape as [number, number, number, number];
  const F = D / 2;
  const some = { decay: given(decay), keep: given(keep), state: given(state) };
  return { B, T, H: heads, R: copies, D, F, S: (2 * copies + 1) * F, chunks: Math.ceil(T / CHUNK), ...some };
}

/** Shapes of the operands and results of a call. */
export const shapesOf = ({ B, T, H, R, D, F, S, chunks }: HoloWalk) => ({
  qkv: [B, T, (2 * R + 1) * H, D],
  decay: [B, T, H, F],
  keep: [B, T],
  o: [B, T, H, D],
  state: [B, H, S],
  starts: [B, chunks, H, S],
});

/** Checks the operands, by their names; all but qkv may be missing. */
export function check(
  op: string,
  operands: { qkv: Spec } & Record<string, Spec | undefined>,
  a: HoloAttrs,
): HoloWalk {
  const { heads, copies } = a;
  const told = Object.entries(operands).flatMap(([name, s]) =>
    s ? [`${name} ${show(s.shape, s.dtype)}`] : [],
  );
  for (const [name, n] of Object.entries({ heads, copies }))
    if (!Number.isInteger(n) || n < 1 || n > (name === 'copies' ? MOST_COPIES : Number.POSITIVE_INFINITY))
      throw new ArgumentError(`${name} is ${n}`, {
        op,
        hint: `heads counts those of the values, copies the keys of each, 1 to ${MOST_COPIES}`,
      });
  const { qkv } = operands;
  if (qkv.rank !== 4 || qkv.shape[2] !== (2 * copies + 1) * heads)
    throw new ShapeError(`${told.join(', ')}: qkv does not hold ${(2 * copies + 1) * heads} heads`, {
      op,
      hint: 'it is [batch, length, (2 copies + 1) heads, D]: queries, keys, values',
    });
  if (qkv.shape[3]! < 2 || qkv.shape[3]! % 2 !== 0)
    throw new ShapeError(`${told.join(', ')}: heads of ${qkv.shape[3]} channels`, {
      op,
      hint: 'a head holds real parts, then as many imaginary ones',
    });
  const w = sizesOf(qkv, a, [operands.decay, operands.keep, operands.state]);
  const shapes: Record<string, Shape> = { ...shapesOf(w), dy: shapesOf(w).o, dstate: shapesOf(w).state };
  for (const [name, s] of Object.entries(operands))
    if (s && (given(s) ? s.shape.join() !== shapes[name]!.join() : s.size !== 0))
      throw new ShapeError(`${told.join(', ')}: ${name} is not ${show(shapes[name]!)}`, {
        op,
        hint: `give one of this shape, or of shape [0] where there is none`,
      });
  return w;
}

/** Attributes of the CPU kernels: native/cpu/holo_attention.h reads them in this order. */
export const packCpu = (problem: Problem<HoloAttrs>, w: HoloWalk): number[] => [
  dtypeCode[problem.inputs[0]!.dtype],
  ...[w.B, w.T, w.H, w.R, w.F],
  ...[w.decay, w.keep, w.state].map(Number),
];

/** Sizes of a sample, and which operands there are. */
export interface Case {
  B?: number;
  T: number;
  H?: number;
  R?: number;
  D: number;
  /** Of decay, keep, state: by their first letters. */
  with?: string;
  /** Of qkv, where not [-1, 1]. */
  domain?: readonly [number, number];
  heavy?: boolean;
}

export const cases: readonly Case[] = [
  { T: 37, D: 6, H: 2, with: 'dks' },
  { T: 5, D: 2 },
  { T: 1, D: 32, H: 2, with: 'ds' },
  { T: 0, D: 4, with: 's' },
  { B: 0, T: 3, D: 4, with: 'dk' },
  { B: 2, T: 70, D: 8, H: 2, R: 2, with: 'dks' },
  { B: 2, T: 33, D: 10, R: 3, with: 'k' },
  { B: 2, T: 64, D: 32, H: 2, with: 'd' },
  { T: 65, D: 34, with: 's' },
  { T: 40, D: 64, H: 3, with: 'd' },
  { B: 3, T: 7, D: 20, with: 'ks' },
  { T: 6, D: 8, with: 'd', domain: [-1e-7, 1e-7] }, // below the least modulus
  { T: 515, D: 64, H: 2, with: 'dk', heavy: true },
  { B: 2, T: 259, D: 34, H: 2, R: 2, with: 'ds', heavy: true },
];

/** A case with the defaults filled in, and the shapes of its operands; [0] what is not there. */
export function fullCase({ B = 1, T, H = 1, R = 1, D, with: some = '', domain, heavy }: Case) {
  const a = { heads: H, copies: R };
  const w = sizesOf(spec([B, T, (2 * R + 1) * H, D], 'float32'), a, []);
  const shapes = shapesOf(w);
  const or = (letter: string, shape: Shape): Shape => (some.includes(letter) ? shape : [0]);
  return {
    shapes: {
      ...shapes,
      decay: or('d', shapes.decay),
      keep: or('k', shapes.keep),
      state: or('s', shapes.state),
    },
    rest: { attrs: a, ...(heavy && { heavy }) } satisfies Partial<Sample<HoloAttrs>>,
    domain: domain ?? inputs.qkv.domain,
  };
}

/** Flops of a token's frequency: projections, binding, reading; backward makes them again and their gradients. */
export const costOf = (problem: Problem<HoloAttrs>, w: HoloWalk, flops: number) => ({
  flops: flops * w.B * w.T * w.H * w.R * w.F,
  bytes: [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0),
  family: 'scan' as const,
});
