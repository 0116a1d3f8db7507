/**
 * Attention: softmax of the scores of queries and keys, weighing values; never a matrix of T x T. Forward keeps the
 * log-sum-exp of each row and no more (Dao, "FlashAttention-2", arXiv:2307.08691). The CPU side is
 * native/cpu/attention.cc, the gradient attention.backward.ts.
 */
import { floatDTypes } from '../tensor/dtype.js';
import type { Spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  checkHeads,
  checkMask,
  checkPacked,
  commonAttrs,
  costOf,
  maskInput,
  outputsOf,
  packCpu,
  packedAttrs,
  refuseKept,
  refuseMaskGradient,
  small,
  tell,
} from './attention.common.js';
import { attentionVariants } from './attention.gpu.js';
import { attentionReference, takeHeads } from './attention.reference.js';
import { type Case, cases, fullCase, keptCases, sampleOf, unequalCases } from './attention.samples.js';
import { productScores } from './attention.score.js';
import {
  type AttentionAttrs,
  type PackedAttentionAttrs,
  packedHeads,
  walkForward,
} from './attention.walk.js';
import { defineOp, type Problem, type Sample, type Value } from './define.js';

export type { AttentionAttrs, PackedAttentionAttrs };

function cpu(problem: Problem<AttentionAttrs | PackedAttentionAttrs>) {
  const w = walkForward(problem);
  return {
    kernel: 'attention',
    attrs: packCpu(problem, w, [w.q, w.k, w.v, w.o], [w.lse, w.entropy ?? -1]),
  };
}

/** Of a row without entropy asked for, the reference returns nothing: its output is [0]. */
const reference = (
  problem: Problem<AttentionAttrs | PackedAttentionAttrs>,
  [q, k, v, mask]: readonly (Float64Array | undefined)[],
): Float64Array[] => {
  const [o, lse, entropy] = attentionReference(walkForward(problem), [q, k, v, undefined, mask]);
  return [o, lse, problem.attrs.entropy ? entropy : new Float64Array(0)];
};

const tolerance = 3e-5;

const heads = (c: Case): Sample<AttentionAttrs> => {
  const { B, T, kept, Hq, Hkv, D, masks } = fullCase(c);
  const keys = [B, kept, Hkv, D];
  return { shapes: [[B, T, Hq, D], keys, keys, ...masks], ...sampleOf(c, 3) };
};

/**
 * `attention(q, k, v, mask?, attrs)`: o = softmax(scale q kᵀ + mask) v. q is [B, Tq, Hq, D], k and v are
 * [B, Tk, Hkv, D]; query head h reads head ⌊h / (Hq / Hkv)⌋ of the keys. A boolean mask keeps where it is true, a float
 * mask is added to the scaled scores; its dimensions of [B, Hq, Tq, Tk] may be 1. A query that sees no key gives 0. With
 * `keys` the first so many rows of k and v are there (a cache with room); with `score: 'born'` o = softmax(scale ln((q
 * kᵀ)² + 1e-6) + mask) v; `alibi` lowers scores by the distance of query and key.
 */
export const attention = defineOp<[q: Tensor, k: Tensor, v: Tensor, mask?: Tensor]>()<AttentionAttrs>({
  name: 'attention',
  doc: 'softmax(scale q kᵀ + mask) v over heads; causal, windows, grouped keys; saves the log-sum-exp alone',
  inputs: ['q', 'k', small('v'), maskInput],
  optional: 1,
  autocast: 'half',
  attrs: commonAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const [q, k, , mask] = inputs as [Spec, Spec, Spec, Spec?];
    const told = tell('attention', 'q k v mask', inputs);
    checkHeads(told, inputs, attrs, productScores);
    checkMask(told, mask, q, k, attrs);
    return outputsOf(q, k, attrs);
  },
  reference: (inputs, problem) => reference(problem, inputs),
  cpu,
  gpu: attentionVariants,
  cost: (problem) => costOf(problem, walkForward(problem), 'forward'),
  backward({ grads: [dy], needs, inputs: [q, k, v, mask], outputs: [o, lse], problem, attrs, F }) {
    const masked = problem.inputs.length > 3;
    refuseMaskGradient('attention', needs[3]);
    refuseKept('attention', attrs);
    const operands = [dy, q, k, v, o, lse, ...(masked ? [mask] : [])];
    const [dq, dk, dv] = F.attentionBackward!(...operands, attrs) as unknown as Value[];
    return [dq!, dk!, dv!, ...(masked ? [null] : [])];
  },
  saves: { inputs: [0, 1, 2, 3], outputs: [0, 1] },
  tolerance,
  samples: [...cases, ...unequalCases, ...keptCases].map(heads),
  invalid: [
    { shapes: [[2, 4, 8], [2, 4, 8], [2, 4, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { ...heads({ T: 4, Hq: 3, Hkv: 2, D: 8 }), code: 'ATTN_SHAPE' },
    { ...heads({ T: 4, D: 257 }), code: 'ATTN_SHAPE' },
    { shapes: [[1, 4, 1, 8], [1, 4, 1, 9], [1, 4, 1, 9]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 1, 8], [1, 4, 1, 8], [1, 5, 1, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...heads({ T: 4, D: 8 }).shapes, [1, 1, 4, 5]], dtypes: ['float32', 'float32', 'float32', 'bool'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...heads({ T: 4, D: 8 }).shapes, [4, 4]], dtypes: ['float32', 'float32', 'float32', 'bool'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [...heads({ T: 4, D: 8 }).shapes, [1, 1, 4, 4]], dtypes: ['float32', 'float32', 'float32', 'int32'], code: 'ATTN_DTYPE' }, // biome-ignore format: one call a line
    { ...heads({ T: 4, D: 8, attrs: { window: -1 } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { scale: Number.NaN } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { score: 'cosine' as 'dot' } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { score: 'gram' as 'dot' } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { keys: 5 } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { keys: -1 } }), code: 'ATTN_ARGUMENT' },
  ],
});

const packed = (c: Case): Sample<PackedAttentionAttrs> => {
  const { B, T, Hq, Hkv, D, masks } = fullCase(c);
  const sample = sampleOf(c, 1);
  return {
    shapes: [[B, T, Hq + 2 * Hkv, D], ...masks],
    ...(sample as Omit<Sample<PackedAttentionAttrs>, 'shapes'>),
    attrs: { ...sample.attrs, heads: Hq, ...(Hkv !== Hq && { kvHeads: Hkv }) },
  };
};

/**
 * `packedAttention(qkv, mask?, { heads, kvHeads, … })`: attention where each row of qkv [B, T, heads + 2 kvHeads, D]
 * holds the heads of q, then of k, then of v, as one linear layer makes them: nothing is cut out or copied.
 */
export const packedAttention = defineOp<[qkv: Tensor, mask?: Tensor]>()<PackedAttentionAttrs>({
  name: 'packed_attention',
  doc: 'attention of one tensor that holds q, k and v side by side',
  inputs: ['qkv', maskInput],
  optional: 1,
  autocast: 'half',
  attrs: packedAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const [qkv, mask] = inputs as [Spec, Spec?];
    const told = tell('packed_attention', 'qkv mask', inputs);
    checkPacked(told, qkv, attrs, productScores);
    checkMask(told, mask, qkv, qkv, attrs);
    return outputsOf(qkv, qkv, attrs);
  },
  reference([qkv, mask], problem) {
    const [Hq, Hkv] = packedHeads(problem.attrs);
    const { D } = walkForward(problem);
    const all = Hq + 2 * Hkv;
    const take = (from: number, to: number) => takeHeads(qkv!, all, D, from, to);
    return reference(problem, [take(0, Hq), take(Hq, Hq + Hkv), take(Hq + Hkv, all), mask]);
  },
  cpu,
  gpu: attentionVariants,
  cost: (problem) => costOf(problem, walkForward(problem), 'forward'),
  backward({ grads: [dy], needs, inputs: [qkv, mask], outputs: [o, lse], problem, attrs, F }) {
    const masked = problem.inputs.length > 1;
    refuseMaskGradient('packed_attention', needs[1]);
    const dqkv = F.packedAttentionBackward!(dy, qkv, o, lse, ...(masked ? [mask] : []), attrs);
    return [dqkv, ...(masked ? [null] : [])];
  },
  saves: { inputs: [0, 1], outputs: [0, 1] },
  tolerance,
  samples: cases.map(packed),
  invalid: [
    { shapes: [[1, 4, 3, 8]], code: 'ATTN_ARGUMENT' },
    { shapes: [[1, 4, 3, 8]], attrs: { heads: 2 }, code: 'ATTN_SHAPE' },
    { shapes: [[1, 4, 7, 8]], attrs: { heads: 3, kvHeads: 2 }, code: 'ATTN_SHAPE' },
    { shapes: [[4, 3, 8]], attrs: { heads: 1 }, code: 'ATTN_SHAPE' },
    { shapes: [[1, 4, 3, 8], [1, 1, 1, 5]], attrs: { heads: 1 }, dtypes: ['float32', 'bool'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});
