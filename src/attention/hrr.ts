/**
 * Hrrformer as it was published (Alam et al., "Recasting self-attention with holographic reduced representations", ICML
 * 2023, arXiv:2305.19534): β = Σ_t k_t ⊛ v_t, v̂_t = q_t⁻¹ ⊛ β, w = softmax over time of cos(v_t, v̂_t), o_t = w_t v_t.
 *
 * A negative control. o_t is parallel to v_t: no token's content reaches another, only a number w_t that lies within a
 * factor e² of 1 / T, so that nothing can be copied. And both β and the softmax run over the whole sequence: there is no
 * causal form of it. `holo` is what mixes, and is causal.
 */
import { z } from 'zod';
import { conjugate, multiplicity, multiply, spectrum } from '../geometry/hrr.js';
import { cast, maximum, mul, rsqrt, softmax, sum, where } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import type { ConfigInput } from './shared/config.js';
import { Heads, Out, wide } from './shared/heads.js';

const options = {
  causal: z
    .boolean()
    .default(false)
    .describe('false: the sum and the softmax run over the whole sequence, so there is no causal form'),
};

/** Of the product of two lengths, as cosines are computed elsewhere. */
const EPS = 1e-8;
/** What padding scores. */
const HIDDEN = -1e30;

export class HrrformerAttention extends Attention<typeof options> {
  readonly qkv: Heads;
  readonly out: Out;
  /** How often each frequency counts in an inner product, over headDim: [2 F]. */
  readonly #weights: Float32Array;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(hrrKind, config);
    const { dim, heads, headDim, bias } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.out = new Out(this.config, inits);
    const F = Math.floor(headDim / 2) + 1;
    this.#weights = Float32Array.from({ length: 2 * F }, (_, i) => multiplicity(i % F, headDim) / headDim);
  }

  protected attend(x: Tensor, { batch, length, keep }: Context): Tensor {
    if (length === 0)
      throw new ArgumentError('x has no tokens', { op: 'HrrformerAttention', hint: 'at least 1' });
    const packed = this.qkv.heads(x);
    const kept = keep?.reshape([batch, length, 1, 1]);
    const [q, k, v] = this.qkv.split(spectrum(wide(packed))) as [Tensor, Tensor, Tensor];
    const bound = multiply(k, v);
    const beta = sum(kept ? where(kept, bound, 0) : bound, { axis: 1, keepDims: true });
    const found = multiply(conjugate(q), beta);
    // Inner products of real vectors, of their spectra (Parseval).
    const weights = tensor(this.#weights, undefined, { runtime: x.runtime });
    const inner = (a: Tensor, b: Tensor) => sum(mul(mul(a, b), weights), { axis: -1, keepDims: true });
    const lengths = mul(inner(v, v), inner(found, found));
    const cosine = mul(inner(v, found), rsqrt(maximum(lengths, EPS * EPS)));
    const scores = softmax(kept ? where(kept, cosine, HIDDEN) : cosine, { axis: 1 });
    const share = kept ? where(kept, scores, 0) : scores;
    const values = this.qkv.split(packed)[2]!;
    return mul(values, values.dtype === 'float32' ? share : cast(share, { dtype: values.dtype }));
  }

  protected makeCache(): null {
    return null;
  }
}

export const hrrKind: AttentionKind<typeof options> = defineAttention({
  kind: 'hrr',
  name: 'HrrformerAttention',
  doc: 'Hrrformer as published: weighs each value by itself, mixes nothing; a negative control',
  source: 'Alam et al. 2023, arXiv:2305.19534',
  options,
  complexity: { time: 'T', memory: 'T', cache: null },
  supports: { mask: 'keys', causal: 'never', window: false, alibi: false, rope: false, grouped: false },
  samples: [{ bias: false, headDim: 5 }],
  parameters: ({ dim, heads, headDim, bias }) =>
    Heads.parameters({ dim, parts: [heads, heads, heads], headDim, bias }) +
    Out.parameters({ dim, heads, headDim, bias }),
  create: (config, inits) => new HrrformerAttention(config, inits),
});
