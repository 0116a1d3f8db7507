/** The gradients of attention and packed_attention: the weights are made again from the log-sum-exps. */
import { floatDTypes } from '../tensor/dtype.js';
import { type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  checkHeads,
  checkLike,
  checkMask,
  checkPacked,
  commonAttrs,
  costOf,
  lseInput,
  maskInput,
  outputsOf,
  packCpu,
  packedAttrs,
  refuseKept,
  small,
  tell,
} from './attention.common.js';
import { attentionBackwardVariants } from './attention.gpu.js';
import { attentionBackwardReference, joinHeads, takeHeads } from './attention.reference.js';
import { type Case, cases, fullCase, sampleOf, unequalCases } from './attention.samples.js';
import { productScores } from './attention.score.js';
import {
  type AttentionAttrs,
  type PackedAttentionAttrs,
  packedHeads,
  walkBackward,
} from './attention.walk.js';
import { defineOp, type Problem, type Sample } from './define.js';

function cpu(problem: Problem<AttentionAttrs | PackedAttentionAttrs>) {
  const w = walkBackward(problem);
  return {
    kernel: 'attention_backward',
    attrs: packCpu(problem, w, [w.q, w.k, w.v, w.o, w.dy, w.dq, w.dk, w.dv], [w.lse, -1]),
  };
}

const tolerance = 5e-5;

const heads = (c: Case): Sample<AttentionAttrs> => {
  const { B, T, Tk, Hq, Hkv, D, masks } = fullCase(c);
  const [query, key] = [
    [B, T, Hq, D],
    [B, Tk, Hkv, D],
  ];
  return { shapes: [query, query, key, key, query, [B, Hq, T], ...masks], ...sampleOf(c, 6) };
};

const reference = (
  problem: Problem<AttentionAttrs | PackedAttentionAttrs>,
  [dy, q, k, v, o, lse, mask]: readonly (Float64Array | undefined)[],
) => attentionBackwardReference(walkBackward(problem), [dy, q, k, v, undefined, o, lse, mask]).slice(0, 3);

/** dS = P (dO vᵀ - rowsum(dO o)), P = exp(S - lse); dq = dS s' k, dk = dSᵀ s' q, dv = Pᵀ dO, s' the score's slope by q · k. */
export const attentionBackward = defineOp<
  [dy: Tensor, q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, mask?: Tensor],
  [dq: Tensor, dk: Tensor, dv: Tensor]
>()<AttentionAttrs>({
  name: 'attention_backward',
  doc: 'dq, dk, dv of attention from its output and log-sum-exp',
  internal: true,
  results: 3,
  inputs: [small('dy'), small('q'), small('k'), small('v'), small('o'), lseInput, maskInput],
  optional: 1,
  attrs: commonAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const told = tell('attention_backward', 'dy q k v o lse mask', inputs);
    const [dy, q, k, v, o, lse, mask] = inputs as [Spec, Spec, Spec, Spec, Spec, Spec, Spec?];
    checkHeads(told, [q, k, v], attrs, productScores);
    refuseKept('attention_backward', attrs);
    checkMask(told, mask, q, k, attrs);
    const [out, stat] = outputsOf(q, k, attrs);
    checkLike(told, { dy: [dy, out!.shape], o: [o, out!.shape], lse: [lse, stat!.shape] });
    return [q, k, v].map((s) => spec(s.shape, s.dtype));
  },
  reference: (inputs, problem) => reference(problem, inputs),
  cpu,
  gpu: attentionBackwardVariants,
  cost: (problem) => costOf(problem, walkBackward(problem), 'backward'),
  tolerance,
  samples: [...cases, ...unequalCases].map(heads),
  invalid: [
    { shapes: [...heads({ T: 4, D: 8 }).shapes.slice(0, 5), [1, 4, 1]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { ...heads({ T: 4, Hq: 3, Hkv: 2, D: 8 }), code: 'ATTN_SHAPE' },
    { shapes: [[1, 5, 1, 8], ...heads({ T: 4, D: 8 }).shapes.slice(1)], code: 'ATTN_SHAPE' },
    { ...heads({ T: 4, D: 8, attrs: { window: 0.5 } }), code: 'ATTN_ARGUMENT' },
    { ...heads({ T: 4, D: 8, attrs: { keys: 3 } }), code: 'ATTN_ARGUMENT' },
  ],
});

const packed = (c: Case): Sample<PackedAttentionAttrs> => {
  const { B, T, Hq, Hkv, D, masks } = fullCase(c);
  const query = [B, T, Hq, D];
  const sample = sampleOf(c, 4);
  return {
    shapes: [query, [B, T, Hq + 2 * Hkv, D], query, [B, Hq, T], ...masks],
    ...(sample as Omit<Sample<PackedAttentionAttrs>, 'shapes'>),
    attrs: { ...sample.attrs, heads: Hq, ...(Hkv !== Hq && { kvHeads: Hkv }) },
  };
};

/** The gradient of packed_attention, packed alike. */
export const packedAttentionBackward = defineOp<
  [dy: Tensor, qkv: Tensor, o: Tensor, lse: Tensor, mask?: Tensor]
>()<PackedAttentionAttrs>({
  name: 'packed_attention_backward',
  doc: 'dqkv of packed_attention from its output and log-sum-exp',
  internal: true,
  inputs: [small('dy'), small('qkv'), small('o'), lseInput, maskInput],
  optional: 1,
  attrs: packedAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const told = tell('packed_attention_backward', 'dy qkv o lse mask', inputs);
    const [dy, qkv, o, lse, mask] = inputs as [Spec, Spec, Spec, Spec, Spec?];
    checkPacked(told, qkv, attrs, productScores);
    checkMask(told, mask, qkv, qkv, attrs);
    const [out, stat] = outputsOf(qkv, qkv, attrs);
    checkLike(told, { dy: [dy, out!.shape], o: [o, out!.shape], lse: [lse, stat!.shape] });
    return [spec(qkv.shape, qkv.dtype)];
  },
  reference([dy, qkv, o, lse, mask], problem) {
    const [Hq, Hkv] = packedHeads(problem.attrs);
    const { D } = walkBackward(problem);
    const take = (from: number, to: number) => takeHeads(qkv!, Hq + 2 * Hkv, D, from, to);
    const [q, k, v] = [take(0, Hq), take(Hq, Hq + Hkv), take(Hq + Hkv, Hq + 2 * Hkv)];
    return [joinHeads(reference(problem, [dy, q, k, v, o, lse, mask]), [Hq, Hkv, Hkv], D)];
  },
  cpu,
  gpu: attentionBackwardVariants,
  cost: (problem) => costOf(problem, walkBackward(problem), 'backward'),
  tolerance,
  samples: cases.map(packed),
  invalid: [
    { shapes: packed({ T: 4, D: 8 }).shapes, code: 'ATTN_ARGUMENT' },
    { shapes: packed({ T: 4, D: 8 }).shapes, attrs: { heads: 2 }, code: 'ATTN_SHAPE' },
  ],
});
