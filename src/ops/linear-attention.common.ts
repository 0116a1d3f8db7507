/** What linear attention and its gradient share: sizes, checks, packing, cost, samples. */
import { ShapeError } from '../runtime/errors.js';
import { dtypeCode } from '../tensor/dtype.js';
import { type Shape, type Spec, show } from '../tensor/shape.js';
import type { InputSpec, Problem, Sample } from './contract.js';

/** Linear attention has no options: what is left out is left out of the call. */
export type LinearAttentionAttrs = object;
export const attrs: LinearAttentionAttrs = {};

export type LinearProblem = Problem<LinearAttentionAttrs>;

/** Most channels of a head, of keys and of values. */
export const MOST_D = 256;

export const small = (name: string): InputSpec => ({ name, domain: [-1, 1] });
export const stateInput = (name: string): InputSpec => ({ name, dtype: 'float32', domain: [-1, 1] });
/** e^-0.5 = 0.6 a token: a memory of a few. Samples go further both ways. */
export const decayInput: InputSpec = { name: 'decay', dtype: 'float32', domain: [-0.5, 0] };

export interface LinearSizes {
  B: number;
  T: number;
  H: number;
  Dk: number;
  Dv: number;
}

/** Of the specs of q and v, which `check` has seen. */
export function sizesOf(q: Spec, v: Spec): LinearSizes {
  const [B, T, H, Dk] = q.shape as [number, number, number, number];
  return { B, T, H, Dk, Dv: v.shape[3]! };
}

/** [B, H, Dk, Dv] */
export const stateShape = ({ B, H, Dk, Dv }: LinearSizes): Shape => [B, H, Dk, Dv];

/** Checks q, k, v, and a state and decays where they are given, of a call of `op`. */
export function check(op: string, inputs: Readonly<Record<string, Spec | undefined>>): LinearSizes {
  const all = Object.entries(inputs)
    .flatMap(([name, s]) => (s ? [`${name} ${show(s.shape)}`] : []))
    .join(', ');
  const refuse = (what: string, hint: string) => {
    throw new ShapeError(`${what}: ${all}`, { op, hint });
  };
  const { q, k, v } = inputs as Record<string, Spec>;
  for (const [name, s] of Object.entries({ q, k, v }))
    if (s!.rank !== 4) refuse(`${name} is not of rank 4`, 'q and k are [B, T, H, Dk], v is [B, T, H, Dv]');
  if (q!.shape.join() !== k!.shape.join()) refuse('q and k differ', 'both are [B, T, H, Dk]');
  if (q!.shape.slice(0, 3).join() !== v!.shape.slice(0, 3).join())
    refuse('v is not of the batch, length and heads of q', 'v is [B, T, H, Dv]');
  const sizes = sizesOf(q!, v!);
  for (const d of [sizes.Dk, sizes.Dv])
    if (d < 1 || d > MOST_D) refuse(`heads of ${d} elements`, `Dk and Dv are from 1 to ${MOST_D}`);
  const wanted: Record<string, Shape> = {
    state: stateShape(sizes),
    dfinal: stateShape(sizes),
    decay: q!.shape,
    dy: v!.shape,
  };
  for (const [name, shape] of Object.entries(wanted))
    if (inputs[name] && inputs[name].shape.join() !== shape.join())
      refuse(`${name} is not ${show(shape)}`, 'states are [B, H, Dk, Dv], decays [B, T, H, Dk]');
  return sizes;
}

/** Attributes of the CPU kernels: native/cpu/linear_attention.cc reads them in this order. */
export const packCpu = (q: Spec, v: Spec, state: unknown, decay: unknown): number[] => {
  const { B, T, H, Dk, Dv } = sizesOf(q, v);
  return [dtypeCode[q.dtype], B, T, H, Dk, Dv, state ? 1 : 0, decay ? 1 : 0];
};

/** Tokens of a chunk as kernels cut them: what they do within one is quadratic. */
const CHUNK = 16;

/** `states` passes over a state for each token, and as many triangles. */
export function costOf({ inputs, outputs }: LinearProblem, sizes: LinearSizes, states: number) {
  const { B, T, H, Dk, Dv } = sizes;
  return {
    flops: 2 * B * T * H * states * (Dk * Dv + (CHUNK / 4) * (Dk + Dv)),
    bytes: [...inputs, ...outputs].reduce((sum, s) => sum + s.bytes, 0),
    family: 'attention' as const,
  };
}

/** Errors grow as a random walk of T D products; those of the gradients, sums of such sums, from farther up. */
export const toleranceOf = (sizes: LinearSizes, least: number, step: number): number =>
  Math.max(least, step * Math.sqrt(sizes.T * Math.max(sizes.Dk, sizes.Dv)));

/** Sizes of a sample; the operands' shapes follow. */
export interface Case {
  B?: number;
  T: number;
  H?: number;
  D: number;
  Dv?: number;
  state?: boolean;
  /** Range of the decays where there are some: they come with a state. */
  decay?: readonly [number, number];
  heavy?: boolean;
  dtypes?: Sample<object>['dtypes'];
}

const mild = [-0.5, 0] as const;

/** Halves take the same way but at their edges: what is large, or one more of its kind, is float32 alone. */
const single = { dtypes: ['float32'] } as const;
const steady = { dtypes: ['float32', 'bfloat16'] } as const;

/** Lengths that no chunk divides, chunks of all sizes, decays from none to such that a quotient would overflow. */
export const cases: readonly Case[] = [
  { T: 7, D: 8, decay: mild }, // small, odd, everything given: the self-tests' choice
  { T: 5, D: 8, ...steady },
  { T: 1, D: 16, ...steady },
  { T: 1, D: 64, H: 2, decay: mild },
  { T: 1, D: 12, Dv: 20, state: true, ...steady },
  { T: 37, D: 16, H: 2, state: true, ...steady },
  { B: 2, T: 64, D: 16, H: 2, decay: [-0.01, 0] },
  { T: 9, D: 1, ...single },
  { T: 21, D: 5, Dv: 7, H: 2, decay: [-3, 0], ...steady },
  { T: 33, D: 40, Dv: 24, H: 2, ...single },
  { T: 70, D: 32, Dv: 1, state: true, ...single },
  { T: 40, D: 8, Dv: 72, decay: mild, dtypes: ['bfloat16'] }, // results are larger in float32 than all states
  { T: 35, D: 24, decay: [-60, -20] },
  { T: 40, D: 8, decay: [-1000, 0], ...single },
  { T: 19, D: 80, Dv: 16, state: true, ...single },
  { T: 18, D: 128, decay: mild, ...single },
  { T: 17, D: 256, Dv: 36, ...single },
  { T: 130, D: 64, ...steady },
  { B: 0, T: 4, D: 16, decay: mild },
  { T: 0, D: 16, decay: mild },
  { B: 2, T: 0, D: 4, ...steady },
  { B: 2, T: 300, D: 64, decay: mild, heavy: true, ...single },
  { T: 1031, D: 16, Dv: 32, decay: [-0.01, 0], heavy: true, ...single },
  { B: 2, T: 100, D: 16, H: 3, Dv: 64, ...single },
  { T: 519, D: 16, Dv: 64, heavy: true, ...single }, // so long and so few heads are cut along time
];

/** The shapes of q, k, v, and of a state and decays, with the ranges that decays are drawn from. */
export function operandsOf({ B = 1, T, H = 1, D, Dv = D, state, decay }: Case) {
  const sizes = { B, T, H, Dk: D, Dv };
  const [key, value] = [
    [B, T, H, D],
    [B, T, H, Dv],
  ];
  const given = [...(state || decay ? [stateShape(sizes)] : []), ...(decay ? [key] : [])];
  return { key, value, given, stateShape: stateShape(sizes), decay };
}

const unit = [-1, 1] as const;

export const sampleOf = (shapes: readonly Shape[], { decay, heavy, dtypes }: Case): Sample<object> => ({
  shapes,
  ...(decay && { domains: [...shapes.slice(1).map(() => unit), decay] }),
  ...(heavy && { heavy }),
  ...(dtypes && { dtypes }),
});
