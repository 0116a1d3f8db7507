/** Holographic attention: values bound to unit phasors of their keys, summed into one state, and read by queries. */
import { floatDTypes } from '../tensor/dtype.js';
import { spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type OpTable, type Problem, type Sample, type Value } from './define.js';
import { backwardVariants, forwardVariants } from './holo-attention.gpu.js';
import { backwardReference, forwardReference } from './holo-attention.reference.js';
import {
  attrs,
  type Case,
  cases,
  check,
  costOf,
  fullCase,
  given,
  type HoloAttrs,
  inputs,
  packCpu,
  shapesOf,
  sizesOf,
} from './holo-attention.walk.js';

export type { HoloAttrs };

/** What stands for an operand that is missing. */
const none = (F: OpTable, dtype: string): Value => F.fill!({ shape: [0], dtype });

/** Operands that a case needs: up to the last that is there. */
const lastOf = ({ with: some = '' }: Case): number =>
  some.includes('s') ? 4 : some.includes('k') ? 3 : some.includes('d') ? 2 : 1;

const forwardWalk = ({ inputs: [qkv, ...some], attrs: a }: Problem<HoloAttrs>) => sizesOf(qkv!, a, some);

/**
 * Attention whose memory is one complex number a frequency (Plate's holographic reduced representations, bound in the
 * frequency domain; redundant copies as Danihelka et al., "Associative LSTM", ICML 2016). Of qkv
 * [B, T, (2 copies + 1) heads, D] the first `copies · heads` heads are queries, the next as many keys (those of one head
 * of values beside each other), the last values; each holds D / 2 real parts and then the imaginary ones. With
 * P(z) = z / max(|z|, 1e-6) and α_t = exp(decay_t):
 *
 *   S_t = α_t S_{t-1} + P(k_t) v_t,   n_t = α_t² n_{t-1} + 1,   o_t = mean over copies of conj(P(q_t)) S_t / √n_t
 *
 * o is [B, T, heads, D]. decay, float32 [B, T, heads, D / 2], at most 0, is none where it is left out: S is the plain
 * sum. Where keep, bool [B, T], is false the token leaves S and n as they are; before the first that is kept o is 0.
 * state, float32 [B, heads, (2 copies + 1) D / 2], holds S of each copy (real, imaginary) and n before the first token,
 * and is returned after the last. An operand that is missing before one that is given has shape [0].
 */
export const holoAttention = defineOp<
  [qkv: Tensor, decay?: Tensor, keep?: Tensor, state?: Tensor],
  [o: Tensor, state: Tensor]
>()<HoloAttrs>({
  name: 'holo_attention',
  doc: 'conj(P(q_t)) S_t / √n_t, S_t = α_t S_{t-1} + P(k_t) v_t, and the last S and n',
  inputs: [inputs.qkv, inputs.decay, inputs.keep, inputs.state],
  optional: 3,
  results: 2,
  attrs,
  dtypes: floatDTypes,
  infer([qkv, decay, keep, state], a) {
    const shapes = shapesOf(check('holo_attention', { qkv: qkv!, decay, keep, state }, a));
    return [spec(shapes.o, qkv!.dtype), spec(shapes.state, 'float32'), spec(shapes.starts, 'float32')];
  },
  reference: (arrays, problem) => forwardReference(forwardWalk(problem), arrays),
  cpu: (problem) => ({ kernel: 'holo_attention', attrs: packCpu(problem, forwardWalk(problem)) }),
  gpu: forwardVariants,
  cost: (problem) => costOf(problem, forwardWalk(problem), 30),
  backward({
    grads: [dy, dstate],
    needs,
    inputs: [qkv, decay, keep],
    outputs: [, , starts],
    attrs: a,
    problem,
    F,
  }) {
    const o = problem.outputs[0]!;
    const [dqkv, ddecay, first] = F.holoAttentionBackward!(
      dy ?? F.fill!({ shape: o.shape, dtype: o.dtype }),
      qkv,
      starts,
      dstate ?? none(F, 'float32'),
      decay ?? none(F, 'float32'),
      keep ?? none(F, 'bool'),
      a,
    ) as unknown as [Value, Value, Value];
    const [, , , state] = problem.inputs;
    return problem.inputs.map(
      (_, i) => (needs[i] && [dqkv, ddecay, null, given(state) ? first : none(F, 'float32')][i]) || null,
    );
  },
  saves: { inputs: [0, 1, 2], outputs: [2] },
  tolerance: 3e-5,
  samples: cases.map((c): Sample<HoloAttrs> => {
    const { shapes, rest, domain } = fullCase(c);
    return {
      shapes: [shapes.qkv, shapes.decay, shapes.keep, shapes.state].slice(0, lastOf(c)),
      domains: [domain],
      ...rest,
    };
  }),
  invalid: [
    { shapes: [[2, 3, 3, 4]], attrs: { heads: 2 }, code: 'ATTN_SHAPE' },
    { shapes: [[2, 3, 12]], attrs: { heads: 1 }, code: 'ATTN_SHAPE' },
    { shapes: [[2, 3, 3, 5]], attrs: { heads: 1 }, code: 'ATTN_SHAPE' },
    { shapes: [[2, 3, 3, 4]], attrs: { heads: 0 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3, 3, 4]], attrs: { heads: 1, copies: 0 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3, 3, 4]], attrs: { heads: 1, copies: 1.5 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3, 3, 4], [2, 3, 1, 4]], attrs: { heads: 1 }, dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 3, 3, 4], [3]], attrs: { heads: 1 }, dtypes: ['float32'], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3, 3, 4], [0], [3, 2]], attrs: { heads: 1 }, dtypes: ['float32', 'float32', 'bool'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 3, 3, 4], [0], [0], [2, 1, 4]], attrs: { heads: 1 }, dtypes: ['float32', 'float32', 'bool', 'float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 3, 3, 4], [2, 3, 1, 2]], attrs: { heads: 1 }, dtypes: ['bfloat16', 'bfloat16'], code: 'ATTN_DTYPE' }, // biome-ignore format: one call a line
  ],
});

const backwardWalk = ({ inputs: [, qkv, , dstate, decay, keep], attrs: a }: Problem<HoloAttrs>) =>
  sizesOf(qkv!, a, [decay, keep, dstate]);

/**
 * The gradient: with A and N those by S_t and n_t, which run back through A_{t-1} = α_t A_t and N_{t-1} = α_t² N_t,
 * g = dy_t / copies and w = P(q_t): A_t gains g w / √n_t, N_t loses Re(conj(g) conj(w) S_t) / (2 n_t^1.5); dP(q) =
 * conj(g) S_t / √n_t, dP(k) = A_t conj(v), dv = A_t conj(P(k)), ddecay = α_t Re(conj(A_t) S_{t-1}) + 2 α_t² N_t n_{t-1};
 * dz = (dP - P Re(conj(P) dP)) / |z|. S is made again from `starts`, its values before every 32nd token. dqkv, ddecay
 * of decay's shape, and the gradient of the state before the first token.
 */
export const holoAttentionBackward = defineOp<
  [dy: Tensor, qkv: Tensor, starts: Tensor, dstate?: Tensor, decay?: Tensor, keep?: Tensor],
  [dqkv: Tensor, ddecay: Tensor, dstate: Tensor]
>()<HoloAttrs>({
  name: 'holo_attention_backward',
  doc: 'gradients of holo_attention by qkv, decay and state',
  internal: true,
  inputs: [
    { name: 'dy', domain: [-1, 1] },
    inputs.qkv,
    { ...inputs.state, name: 'starts' },
    { ...inputs.state, name: 'dstate', domain: [-1, 1] },
    inputs.decay,
    inputs.keep,
  ],
  optional: 3,
  results: 3,
  attrs,
  dtypes: floatDTypes,
  infer([dy, qkv, starts, dstate, decay, keep], a) {
    const op = 'holo_attention_backward';
    const w = check(op, { dy: dy!, qkv: qkv!, starts: starts!, dstate, decay, keep }, a);
    return [
      spec(qkv!.shape, qkv!.dtype),
      spec(w.decay ? decay!.shape : [0], 'float32'),
      spec(shapesOf(w).state, 'float32'),
    ];
  },
  reference: (arrays, problem) => backwardReference(backwardWalk(problem), arrays),
  cpu: (problem) => ({
    kernel: 'holo_attention_backward',
    attrs: packCpu(problem, backwardWalk(problem)),
  }),
  gpu: backwardVariants,
  cost: (problem) => costOf(problem, backwardWalk(problem), 100),
  tolerance: 1e-4,
  samples: cases.map((c): Sample<HoloAttrs> => {
    const { shapes, rest, domain } = fullCase(c);
    return {
      shapes: [shapes.o, shapes.qkv, shapes.starts, shapes.state, shapes.decay, shapes.keep],
      domains: [[-1, 1], domain],
      ...rest,
    };
  }),
  invalid: [
    { shapes: [[2, 3, 1, 4], [2, 3, 3, 4], [2, 2, 1, 6]], attrs: { heads: 1 }, dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 3, 2, 4], [2, 3, 3, 4], [2, 1, 1, 6]], attrs: { heads: 1 }, dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[2, 3, 1, 4], [2, 3, 3, 4], [2, 1, 1, 6]], attrs: { heads: 2 }, dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});
