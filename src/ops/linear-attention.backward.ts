/** The gradient of linear attention: states and their gradients are made again from the operands, chunk by chunk. */
import { floatDTypes } from '../tensor/dtype.js';
import { type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Sample } from './define.js';
import {
  attrs,
  type Case,
  cases,
  check,
  costOf,
  decayInput,
  type LinearAttentionAttrs,
  operandsOf,
  packCpu,
  sampleOf,
  sizesOf,
  small,
  stateInput,
  toleranceOf,
} from './linear-attention.common.js';
import { linearAttentionBackwardVariants } from './linear-attention.gpu.js';
import { linearAttentionBackwardReference } from './linear-attention.reference.js';

const backwardSample = (c: Case): Sample<LinearAttentionAttrs> => {
  const { key, value, given, stateShape } = operandsOf(c);
  return sampleOf([value, stateShape, key, key, value, ...given], c);
};

/**
 * With D_t the gradient of S_t: dq_t = S_t do_t, dk_t = D_t v_t, dv_t = D_tᵀ k_t, ddecay_t = rowsum(D_t e^decay_t S_{t-1}),
 * D_{t-1} = diag(e^decay_t) D_t + q_{t-1} do_{t-1}ᵀ. dstate and ddecay are [0] where the call had none.
 */
export const linearAttentionBackward = defineOp<
  [dy: Tensor, dfinal: Tensor, q: Tensor, k: Tensor, v: Tensor, state?: Tensor, decay?: Tensor],
  [dq: Tensor, dk: Tensor, dv: Tensor, dstate: Tensor, ddecay: Tensor]
>()<LinearAttentionAttrs>({
  name: 'linear_attention_backward',
  doc: 'dq, dk, dv, dstate, ddecay of linear attention',
  internal: true,
  results: 5,
  inputs: [
    small('dy'),
    stateInput('dfinal'),
    small('q'),
    small('k'),
    small('v'),
    stateInput('state'),
    decayInput,
  ],
  optional: 2,
  attrs,
  dtypes: floatDTypes,
  infer(inputs) {
    const [dy, dfinal, q, k, v, state, decay] = inputs as [Spec, Spec, Spec, Spec, Spec, Spec?, Spec?];
    check('linear_attention_backward', { dy, dfinal, q, k, v, state, decay });
    const none = spec([0], 'float32');
    return [q, k, v, state ?? none, decay ?? none].map((s) => spec(s.shape, s.dtype));
  },
  reference: (inputs, problem) =>
    linearAttentionBackwardReference(sizesOf(problem.inputs[2]!, problem.inputs[4]!), inputs),
  cpu: ({ inputs: [, , q, , v, state, decay] }) => ({
    kernel: 'linear_attention_backward',
    attrs: packCpu(q!, v!, state, decay),
  }),
  gpu: linearAttentionBackwardVariants,
  cost: (problem) => costOf(problem, sizesOf(problem.inputs[2]!, problem.inputs[4]!), 5),
  tolerance: (problem) => toleranceOf(sizesOf(problem.inputs[2]!, problem.inputs[4]!), 5e-5, 1e-6),
  samples: cases.map(backwardSample),
  invalid: [
    { shapes: [[1, 4, 2, 8], [1, 2, 8, 8], [1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 6]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 6], [1, 2, 6, 8], [1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 6]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
  ],
});
