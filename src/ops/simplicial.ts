/**
 * 2-simplicial attention: softmax over pairs of keys, scored by a form in three vectors (Roy et al., "Fast and
 * Simplex", arXiv:2507.02754, after Clift et al., arXiv:1909.00668), within windows; never a tensor of T x w1 x w2.
 * The CPU side is native/cpu/simplicial.cc.
 */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Spec, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem, type Sample, type Value } from './define.js';
import { simplicialBackwardVariants, simplicialVariants } from './simplicial.gpu.js';
import { simplicialBackwardReference, simplicialReference } from './simplicial.reference.js';
import {
  checkSimplicial,
  costOf,
  maskInput,
  type SimplicialAttrs,
  type SimplicialScore,
  simplicialAttrs,
  simplicialScores,
  simplicialSizes,
  small,
} from './simplicial.walk.js';

export type { SimplicialAttrs, SimplicialScore };

const sizesAt = (q: number, k: number) => (problem: Problem<SimplicialAttrs>) =>
  simplicialSizes(problem.inputs[q]!.shape, problem.inputs[k]!.shape, problem.attrs);
const forwardSizes = sizesAt(0, 1);
const backwardSizes = sizesAt(1, 2);

/** Attributes of the CPU kernels: native/cpu/simplicial.cc reads them in this order. */
function cpu(
  kernel: string,
  problem: Problem<SimplicialAttrs>,
  s: ReturnType<typeof forwardSizes>,
  mask: number,
) {
  return {
    kernel,
    attrs: [
      dtypeCode[problem.inputs[0]!.dtype],
      simplicialScores.indexOf(s.score),
      ...[s.B, s.Tq, s.Tk, s.Hq, s.Hkv, s.D, s.w1, s.w2, s.scale, Number(s.causal)],
      problem.inputs.length > mask ? 1 : 0,
      Number(problem.attrs.entropy),
    ],
  };
}

interface Case {
  B?: number;
  T: number;
  Tk?: number;
  Hq?: number;
  Hkv?: number;
  D: number;
  attrs: Partial<SimplicialAttrs>;
  mask?: boolean;
  /** Only in float32. */
  single?: boolean;
  heavy?: boolean;
}

/** Windows narrower and wider than the sequence and than tiles, every head size with a path of its own. */
const cases: readonly Case[] = [
  { T: 7, D: 8, attrs: { w1: 4, w2: 3, entropy: true } }, // small, odd, all outputs there: the self-tests' choice
  { T: 5, D: 6, mask: true, B: 2, attrs: { w1: 3, w2: 2, score: 'determinant' } },
  { T: 9, D: 4, attrs: {}, single: true }, // windows beyond the sequence
  { T: 1, D: 16, attrs: { w1: 1, w2: 1, entropy: true }, single: true },
  { T: 12, D: 5, Hq: 2, attrs: { w1: 1, w2: 5 } },
  { T: 12, D: 1, attrs: { w1: 5, w2: 1 }, single: true },
  { T: 10, D: 16, Hq: 6, Hkv: 2, attrs: { w1: 6, w2: 4 } },
  { T: 6, D: 20, Hq: 4, Hkv: 1, attrs: { w1: 4, w2: 4, score: 'determinant', entropy: true }, single: true },
  { T: 11, D: 8, attrs: { w1: 4, w2: 3, causal: false }, single: true },
  { T: 11, D: 7, attrs: { w1: 3, w2: 6, causal: false, score: 'determinant' } },
  { T: 8, D: 12, attrs: { w1: 5, w2: 3, scale: -0.7, entropy: true }, single: true },
  { B: 3, T: 14, D: 8, Hq: 2, mask: true, attrs: { w1: 5, w2: 2, entropy: true } },
  { B: 2, T: 9, D: 8, Hq: 2, Hkv: 1, mask: true, attrs: { w1: 4, w2: 4, causal: false }, single: true },
  { T: 1, Tk: 20, D: 16, Hq: 4, Hkv: 2, attrs: { w1: 12, w2: 5 } }, // decoding
  { T: 3, Tk: 11, D: 9, attrs: { w1: 6, w2: 3, score: 'determinant' }, single: true },
  { T: 9, Tk: 4, D: 8, attrs: { w1: 3, w2: 2, entropy: true }, single: true }, // the first queries see no key
  { T: 4, Tk: 0, D: 8, attrs: { w1: 3, w2: 2, entropy: true } },
  { T: 0, Tk: 4, D: 8, attrs: {} },
  { B: 0, T: 4, D: 8, attrs: {} },
  { T: 18, D: 64, Hq: 2, attrs: { w1: 12, w2: 5 }, single: true },
  { T: 9, D: 256, attrs: { w1: 4, w2: 2 }, single: true },
  { T: 150, D: 16, attrs: { w1: 70, w2: 20, entropy: true }, heavy: true, single: true },
  { B: 2, T: 101, D: 32, Hq: 2, Hkv: 1, mask: true, attrs: { w1: 68, w2: 19 }, heavy: true },
  { T: 70, D: 48, attrs: { w1: 70, w2: 33, score: 'determinant' }, heavy: true, single: true },
];

function sampleOf({ B = 1, T, Tk = T, Hq = 1, Hkv = Hq, D, attrs, mask, single, heavy }: Case) {
  const [query, key] = [
    [B, T, Hq, D],
    [B, Tk, Hkv, D],
  ];
  return {
    query,
    key,
    stat: [B, Hq, T],
    rest: mask ? [[B, Tk]] : [],
    more: { attrs, ...(single && { dtypes: ['float32' as const] }), ...(heavy && { heavy }) },
  };
}
const forward = (c: Case): Sample<SimplicialAttrs> => {
  const { query, key, rest, more } = sampleOf(c);
  return { shapes: [query, key, key, key, key, ...rest], ...more };
};

const tolerance = 5e-5;

/**
 * `simplicialAttention(q, k, v, k2, v2, mask?, attrs)`: o_i = Σ_jk P_ijk (v_j ∘ v2_k), P the softmax over all pairs (j, k)
 * of the scores scale Σ_l q_il k_jl k2_kl; j reaches over the w1 keys up to the query's own, k over w2. q is
 * [B, Tq, Hq, D]; k, v, k2, v2 are [B, Tk, Hkv, D], and query head h reads head ⌊h / (Hq / Hkv)⌋ of them; the last query
 * stands at the last key. mask is bool [B, Tk]: a key where it is false counts neither as j nor as k. A query that sees
 * no pair gives 0. O(T) memory: beside o one log-sum-exp a row is kept.
 */
export const simplicialAttention = defineOp<
  [q: Tensor, k: Tensor, v: Tensor, k2: Tensor, v2: Tensor, mask?: Tensor]
>()<SimplicialAttrs>({
  name: 'simplicial_attention',
  doc: 'softmax over pairs of keys of scale Σ q k k2, weighing v ∘ v2, in windows w1 × w2; saves the log-sum-exp alone',
  inputs: [small('q'), small('k'), small('v'), small('k2'), small('v2'), maskInput],
  optional: 1,
  autocast: 'half',
  attrs: simplicialAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const [q, k, v, k2, v2, mask] = inputs as [Spec, Spec, Spec, Spec, Spec, Spec?];
    return checkSimplicial('simplicial_attention', { q, k, v, k2, v2, mask }, attrs);
  },
  reference(inputs, problem) {
    const [o, lse, entropy] = simplicialReference(forwardSizes(problem), inputs);
    return [o, lse, problem.attrs.entropy ? entropy : new Float64Array(0)];
  },
  cpu: (problem) => cpu('simplicial', problem, forwardSizes(problem), 5),
  gpu: simplicialVariants,
  cost: (problem) => costOf(problem, forwardSizes(problem), 2),
  backward({ grads: [dy], needs, inputs: [q, k, v, k2, v2, mask], outputs: [o, lse], problem, attrs, F }) {
    const masked = problem.inputs.length > 5;
    if (needs[5])
      throw new ArgumentError('no gradient flows into a mask', {
        op: 'simplicial_attention',
        hint: 'detach the mask',
      });
    const operands = [dy, q, k, v, k2, v2, o, lse, ...(masked ? [mask] : [])];
    const grads = F.simplicialAttentionBackward!(...operands, attrs) as unknown as Value[];
    return [...grads, ...(masked ? [null] : [])];
  },
  saves: { inputs: [0, 1, 2, 3, 4, 5], outputs: [0, 1] },
  tolerance,
  samples: cases.map(forward),
  invalid: [
    { ...forward({ T: 4, D: 8, attrs: { w1: 0 } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 8, attrs: { w2: 0 } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 8, attrs: { w2: 1.5 } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 8, attrs: { scale: Number.POSITIVE_INFINITY } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 8, attrs: { score: 'dot' as 'trilinear' } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 2, attrs: { score: 'determinant' } }), code: 'ATTN_SHAPE' },
    { ...forward({ T: 4, Hq: 3, Hkv: 2, D: 8, attrs: {} }), code: 'ATTN_SHAPE' },
    { ...forward({ T: 4, D: 257, attrs: {} }), code: 'ATTN_SHAPE' },
    { shapes: [[4, 8], [4, 8], [4, 8], [4, 8], [4, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...forward({ T: 4, D: 8, attrs: {} }).shapes.slice(0, 4), [1, 5, 1, 8]], code: 'ATTN_SHAPE' },
    { shapes: [[1, 4, 1, 6], ...forward({ T: 4, D: 8, attrs: {} }).shapes.slice(1)], code: 'ATTN_SHAPE' },
    { shapes: [...forward({ T: 4, D: 8, attrs: {} }).shapes, [1, 5]], dtypes: [...new Array<'float32'>(5).fill('float32'), 'bool'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...forward({ T: 4, D: 8, attrs: {} }).shapes, [1, 4]], dtypes: ['float32'], code: 'ATTN_DTYPE' }, // biome-ignore format: one call a line
  ],
});

/** Rows of log-sum-exps for which the weights of the samples stay below 1. */
const lseInput = { name: 'lse', dtype: 'float32', domain: [3, 5] } as const;
const backward = (c: Case): Sample<SimplicialAttrs> => {
  const { query, key, stat, rest, more } = sampleOf(c);
  return { shapes: [query, query, key, key, key, key, query, stat, ...rest], ...more };
};

/**
 * With P = exp(S - lse), dP_jk = Σ_d dy v_j v2_k and dS = scale P (dP - Σ_d dy o): dq = Σ_jk dS k_j ∘ k2_k and likewise dk,
 * dk2; dv_j = Σ_ik P dy_i ∘ v2_k and likewise dv2.
 */
export const simplicialAttentionBackward = defineOp<
  [
    dy: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k2: Tensor,
    v2: Tensor,
    o: Tensor,
    lse: Tensor,
    mask?: Tensor,
  ],
  [dq: Tensor, dk: Tensor, dv: Tensor, dk2: Tensor, dv2: Tensor]
>()<SimplicialAttrs>({
  name: 'simplicial_attention_backward',
  doc: 'dq, dk, dv, dk2, dv2 of simplicial_attention from its output and log-sum-exp',
  internal: true,
  results: 5,
  inputs: [...['dy', 'q', 'k', 'v', 'k2', 'v2', 'o'].map(small), lseInput, maskInput],
  optional: 1,
  attrs: simplicialAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const op = 'simplicial_attention_backward';
    const [dy, q, k, v, k2, v2, o, lse, mask] = inputs as [Spec, ...Spec[]] as Spec[];
    const operands = { q: q!, k: k!, v: v!, k2: k2!, v2: v2!, mask };
    const [out, stat] = checkSimplicial(op, operands, attrs);
    const all = Object.entries({ dy, ...operands, o, lse })
      .flatMap(([name, s]) => (s ? [`${name} ${show(s.shape)}`] : []))
      .join(', ');
    for (const [name, got, wanted] of [
      ['dy', dy!, out!],
      ['o', o!, out!],
      ['lse', lse!, stat!],
    ] as const)
      if (got.shape.join() !== wanted.shape.join())
        throw new ShapeError(`${all}: ${name} is not ${show(wanted.shape)}`, {
          op,
          hint: 'pass what the forward call returned',
        });
    return [q, k, v, k2, v2].map((s) => spec(s!.shape, s!.dtype));
  },
  reference: (inputs, problem) => simplicialBackwardReference(backwardSizes(problem), inputs),
  cpu: (problem) => cpu('simplicial_backward', problem, backwardSizes(problem), 8),
  gpu: simplicialBackwardVariants,
  cost: (problem) => costOf(problem, backwardSizes(problem), 6),
  tolerance,
  samples: cases.map(backward),
  invalid: [
    { ...backward({ T: 4, D: 8, attrs: { w2: 0 } }), code: 'ATTN_ARGUMENT' },
    { shapes: [[1, 5, 1, 8], ...backward({ T: 4, D: 8, attrs: {} }).shapes.slice(1)], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...backward({ T: 4, D: 8, attrs: {} }).shapes.slice(0, 7), [1, 4, 1]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});
