/**
 * Linear attention: a state of Dk x Dv in the place of all keys and values (Katharopoulos et al., "Transformers are
 * RNNs", arXiv:2006.16236), with decays by channel (Yang et al., "Gated linear attention", arXiv:2312.06635). Time and
 * memory are linear in the length. The CPU side is native/cpu/linear_attention.cc.
 */
import { floatDTypes } from '../tensor/dtype.js';
import { type Spec, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Sample, type Value } from './define.js';
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
  stateShape,
  toleranceOf,
} from './linear-attention.common.js';
import { linearAttentionVariants } from './linear-attention.gpu.js';
import { linearAttentionReference } from './linear-attention.reference.js';

const forwardSample = (c: Case): Sample<LinearAttentionAttrs> => {
  const { key, value, given } = operandsOf(c);
  return sampleOf([key, key, value, ...given], c);
};

/**
 * `linearAttention(q, k, v, state?, decay?)`: S_t = diag(e^decay_t) S_{t-1} + k_t v_tᵀ and o_t = S_tᵀ q_t for each head,
 * with q, k [B, T, H, Dk], v [B, T, H, Dv]. `state` (float32 [B, H, Dk, Dv]) is S before the first token, else 0;
 * `decay` (float32 [B, T, H, Dk]), the logarithms of the factors, at most 0, comes after a state. Gives [o, S after the
 * last token]: text in segments goes on from there, and so do gradients. No token sees one after it. Sums are float32.
 */
export const linearAttention = defineOp<
  [q: Tensor, k: Tensor, v: Tensor, state?: Tensor, decay?: Tensor],
  [o: Tensor, final: Tensor]
>()<LinearAttentionAttrs>({
  name: 'linear_attention',
  doc: 'o_t = S_tᵀ q_t with S_t = diag(exp decay_t) S_{t-1} + k_t v_tᵀ, and the last S',
  inputs: [small('q'), small('k'), small('v'), stateInput('state'), decayInput],
  optional: 2,
  results: 2,
  autocast: 'widest',
  attrs,
  dtypes: floatDTypes,
  infer(inputs) {
    const [q, k, v, state, decay] = inputs as [Spec, Spec, Spec, Spec?, Spec?];
    const sizes = check('linear_attention', { q, k, v, state, decay });
    return [spec(v.shape, v.dtype), spec(stateShape(sizes), 'float32')];
  },
  reference: (inputs, problem) =>
    linearAttentionReference(sizesOf(problem.inputs[0]!, problem.inputs[2]!), inputs),
  cpu: ({ inputs: [q, , v, state, decay] }) => ({
    kernel: 'linear_attention',
    attrs: packCpu(q!, v!, state, decay),
  }),
  gpu: linearAttentionVariants,
  cost: (problem) => costOf(problem, sizesOf(problem.inputs[0]!, problem.inputs[2]!), 2),
  backward({ grads, inputs: [q, k, v, state, decay], problem, F }) {
    const [dy, dfinal] = problem.outputs.map(
      ({ shape, dtype }, i) => grads[i] ?? F.fill!({ shape, value: 0, dtype }),
    );
    const given = [state, decay].slice(0, problem.inputs.length - 3);
    const all = F.linearAttentionBackward!(dy, dfinal, q, k, v, ...given) as unknown as Value[];
    return all.slice(0, problem.inputs.length);
  },
  saves: { inputs: [0, 1, 2, 3, 4] },
  tolerance: (problem) => toleranceOf(sizesOf(problem.inputs[0]!, problem.inputs[2]!), 3e-5, 4e-7),
  samples: cases.map(forwardSample),
  invalid: [
    { shapes: [[2, 4, 8], [2, 4, 8], [2, 4, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 5, 2, 8], [1, 4, 2, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 1, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 257], [1, 4, 2, 257], [1, 4, 2, 8]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 0]], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 6], [1, 2, 6, 8]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 8], [1, 2, 8, 8], [1, 4, 2, 1]], dtypes: ['float32'], code: 'ATTN_SHAPE' }, // biome-ignore format: one call a line
    { shapes: [[1, 4, 2, 8], [1, 4, 2, 8], [1, 4, 2, 8], [1, 2, 8, 8]], dtypes: ['bfloat16'], code: 'ATTN_DTYPE' }, // biome-ignore format: one call a line
  ],
});
