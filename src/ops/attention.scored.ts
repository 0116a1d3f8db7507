/**
 * Attention by scores that are no function of q · k alone, and its gradient: attention.score.ts says which there are.
 * What must not be rounded to halves travels beside the operands, as `sides`.
 */
import { floatDTypes } from '../tensor/dtype.js';
import { type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  checkHeads,
  checkLike,
  checkMask,
  checkSides,
  costOf,
  lseInput,
  maskInput,
  outputsOf,
  packCpu,
  refuseKept,
  refuseMaskGradient,
  scoredAttrs,
  sidesInput,
  small,
  tell,
} from './attention.common.js';
import { attentionBackwardVariants, attentionVariants } from './attention.gpu.js';
import { attentionBackwardReference, attentionReference } from './attention.reference.js';
import { type Case, fullCase, sampleOf, scoredCases } from './attention.samples.js';
import { sidedScores, vectorsOf } from './attention.score.js';
import { type ScoredAttentionAttrs, walkBackward, walkForward } from './attention.walk.js';
import { defineOp, type Problem, type Sample, type Value } from './define.js';

export type { ScoredAttentionAttrs };

type ScoredProblem = Problem<ScoredAttentionAttrs>;

/** Products of some size, of which each score leaves some on either side of where it bends. */
const part = (name: string) => ({ name, domain: [-0.6, 0.6] as const });

function shapesOf(c: Case<ScoredAttentionAttrs>) {
  const { B, T, kept, Hq, Hkv, D, masks } = fullCase(c);
  const P = vectorsOf(c.attrs!.score!);
  const key = [B, kept, Hkv, D];
  const operands = [[B, T, Hq, P * D], key, key, [B, T * Hq * 2 + kept * Hkv]];
  return { operands, out: [B, T, Hq, D], lse: [B, Hq, T], masks };
}

const forward = (c: Case<ScoredAttentionAttrs>): Sample<ScoredAttentionAttrs> => {
  const { operands, masks } = shapesOf(c);
  return { shapes: [...operands, ...masks], ...sampleOf(c, 4) };
};

/**
 * `scoredAttention(q, k, v, sides, mask?, { score })`: o = softmax(score(q, k) + mask) v, where `score` is
 *
 *  - 'gram': min(0, (a · k)² + (b · k)² - A n) + c a · k, of queries [B, Tq, Hq, 2 D] that hold a and b side by side;
 *  - 'hyperbolic': -β d, d the distance of points with radii r and directions that q and k hold, of radii up to 40.
 *
 * k and v are [B, Tk, Hkv, D]. `sides`, float32 [B, Tq Hq 2 + Tk Hkv], holds (A, c) or (r, β) of each query and head,
 * then n or r of each key and its head. The factor of 'gram' is the caller's, in a, b, A and c. The rest is as of
 * `attention`; gradients flow into q, k, v and sides.
 */
export const scoredAttention = defineOp<
  [q: Tensor, k: Tensor, v: Tensor, sides: Tensor, mask?: Tensor]
>()<ScoredAttentionAttrs>({
  name: 'scored_attention',
  doc: "softmax(score(q, k; sides) + mask) v over heads, the score 'gram' or 'hyperbolic'",
  inputs: [part('q'), part('k'), small('v'), sidesInput, maskInput],
  optional: 1,
  autocast: 'half',
  attrs: scoredAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const [q, k, v, sides, mask] = inputs as [Spec, Spec, Spec, Spec, Spec?];
    const told = tell('scored_attention', 'q k v sides mask', inputs);
    checkHeads(told, [q, k, v], attrs, sidedScores);
    checkSides(told, [q, k, sides], attrs);
    checkMask(told, mask, q, k, attrs);
    return outputsOf(q, k, attrs);
  },
  reference(inputs, problem) {
    const [o, lse, entropy] = attentionReference(walkForward(problem), inputs);
    return [o, lse, problem.attrs.entropy ? entropy : new Float64Array(0)];
  },
  cpu(problem: ScoredProblem) {
    const w = walkForward(problem);
    return {
      kernel: 'attention',
      attrs: packCpu(problem, w, [w.q, w.k, w.v, w.o], [w.lse, w.entropy ?? -1]),
    };
  },
  gpu: attentionVariants,
  cost: (problem) => costOf(problem, walkForward(problem), 'forward'),
  backward({ grads: [dy], needs, inputs: [q, k, v, sides, mask], outputs: [o, lse], problem, attrs, F }) {
    const masked = problem.inputs.length > 4;
    refuseMaskGradient('scored_attention', needs[4]);
    refuseKept('scored_attention', attrs);
    const operands = [dy, q, k, v, sides, o, lse, ...(masked ? [mask] : [])];
    const gradients = F.scoredAttentionBackward!(...operands, attrs) as unknown as Value[];
    return [...gradients, ...(masked ? [null] : [])];
  },
  saves: { inputs: [0, 1, 2, 3, 4], outputs: [0, 1] },
  tolerance: 3e-5,
  samples: scoredCases.map(forward),
  invalid: [
    { ...forward({ T: 4, D: 8, attrs: { score: 'dot' as 'gram' } }), code: 'ATTN_ARGUMENT' },
    { ...forward({ T: 4, D: 8, attrs: { score: 'gram', keys: 5 } }), code: 'ATTN_ARGUMENT' },
    { shapes: [[1, 4, 1, 8], [1, 4, 1, 8], [1, 4, 1, 8], [1, 12]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 1, 16], [1, 4, 1, 8], [1, 4, 1, 8], [1, 11]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 1, 16], [1, 4, 1, 8], [1, 4, 1, 8], [12]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});

const backward = (c: Case<ScoredAttentionAttrs>): Sample<ScoredAttentionAttrs> => {
  const { operands, out, lse, masks } = shapesOf(c);
  return { shapes: [out, ...operands, out, lse, ...masks], ...sampleOf(c, 7) };
};

/** dq, dk, dv as of attention, and what the sides of queries and keys give, summed in a fixed order. */
export const scoredAttentionBackward = defineOp<
  [dy: Tensor, q: Tensor, k: Tensor, v: Tensor, sides: Tensor, o: Tensor, lse: Tensor, mask?: Tensor],
  [dq: Tensor, dk: Tensor, dv: Tensor, dsides: Tensor]
>()<ScoredAttentionAttrs>({
  name: 'scored_attention_backward',
  doc: 'dq, dk, dv, dsides of scored_attention from its output and log-sum-exp',
  internal: true,
  results: 4,
  inputs: [
    small('dy'),
    part('q'),
    part('k'),
    small('v'),
    sidesInput,
    small('o'),
    { ...lseInput, domain: [5, 6] },
    maskInput,
  ],
  optional: 1,
  attrs: scoredAttrs,
  dtypes: floatDTypes,
  infer(inputs, attrs) {
    const told = tell('scored_attention_backward', 'dy q k v sides o lse mask', inputs);
    const [dy, q, k, v, sides, o, lse, mask] = inputs as [Spec, Spec, Spec, Spec, Spec, Spec, Spec, Spec?];
    checkHeads(told, [q, k, v], attrs, sidedScores);
    refuseKept('scored_attention_backward', attrs);
    checkSides(told, [q, k, sides], attrs);
    checkMask(told, mask, q, k, attrs);
    const [out, stat] = outputsOf(q, k, attrs);
    checkLike(told, { dy: [dy, out!.shape], o: [o, out!.shape], lse: [lse, stat!.shape] });
    return [q, k, v, sides].map((s) => spec(s.shape, s.dtype));
  },
  reference: (inputs, problem) => attentionBackwardReference(walkBackward(problem), inputs),
  cpu(problem: ScoredProblem) {
    const w = walkBackward(problem);
    return {
      kernel: 'attention_backward',
      attrs: packCpu(problem, w, [w.q, w.k, w.v, w.o, w.dy, w.dq, w.dk, w.dv], [w.lse, w.dsides!.operand]),
    };
  },
  gpu: attentionBackwardVariants,
  cost: (problem) => costOf(problem, walkBackward(problem), 'backward'),
  tolerance: 5e-5,
  samples: scoredCases.filter((c) => !c.kept).map(backward),
  invalid: [
    { ...backward({ T: 4, D: 8, attrs: { score: 'gram', keys: 3 } }), code: 'ATTN_ARGUMENT' },
    { ...backward({ T: 4, Hq: 3, Hkv: 2, D: 8, attrs: { score: 'gram' } }), code: 'ATTN_SHAPE' },
  ],
});
