/**
 * Attention by feature maps, φ(q) · φ(k) in the place of exp(q · k): sums over keys come first, so that time is linear in
 * the length (Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236, eq. 4-12):
 *
 *   o_t = S_tᵀ φ(q_t) / (z_t · φ(q_t) + eps),   S_t = Σ φ(k_s) v_sᵀ,   z_t = Σ φ(k_s)   over s <= t, or over all s
 */
import { add, div, einsum, fill, linearAttention, mul, slice, sum, where } from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { AttentionInits, AttentionKind, Context } from '../attention.js';
import type { ConfigInput, Options } from './config.js';
import { Heads, headsOf, Out } from './heads.js';
import { type Reading, RecurrentAttention, type recurrentOptions } from './recurrent.js';

/** φ of queries and keys, [batch, length, 2 heads, features], and the same turned by places: of S alone. */
export interface Features {
  plain: Tensor;
  turned: Tensor;
}

/** Sums of φ(k) are states of values that are 1: of as many as kernels read at a time. */
const ONES = 4;

export abstract class FeatureAttention<
  O extends Options & typeof recurrentOptions,
> extends RecurrentAttention<O> {
  readonly qkv: Heads;
  protected readonly out: Out;
  /** Of the denominator. */
  protected abstract readonly eps: number;

  constructor(kind: AttentionKind<O>, config: ConfigInput<O>, inits: AttentionInits = {}) {
    super(kind, config);
    const { dim, heads, headDim, bias } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.out = new Out(this.config, inits);
  }

  /** @param qk queries and keys, [batch, length, 2 heads, headDim] */
  protected abstract features(qk: Tensor, rotate: Context['rotate']): Features;

  protected read(x: Tensor, reading: Reading, [state, weights]: readonly Tensor[]): [Tensor, ...Tensor[]] {
    const { heads } = this.config;
    const { batch, length, causal, keep, rotate } = reading;
    const packed = this.qkv.heads(x);
    const { plain, turned } = this.features(headsOf(packed, 0, 2 * heads), rotate);
    const values = headsOf(packed, 2 * heads, 3 * heads);
    const kept = keep?.reshape([batch, length, 1, 1]);
    const parts = (f: Tensor): [q: Tensor, k: Tensor] => {
      const k = headsOf(f, heads, 2 * heads);
      return [headsOf(f, 0, heads), kept ? where(kept, k, 0) : k];
    };
    const [q, k] = parts(plain);
    const [qTurned, kTurned] = turned === plain ? [q, k] : parts(turned);
    if (!causal) {
      const over = einsum('bthi,bhij->bthj', qTurned, einsum('bthi,bthj->bhij', kTurned, values));
      const under = sum(mul(q, sum(k, { axis: 1, keepDims: true })), { axis: -1, keepDims: true });
      return [div(over, add(under, this.eps))];
    }
    const [over, after] = linearAttention(qTurned, kTurned, values, state);
    const ones = fill({ shape: [batch, length, heads, ONES], value: 1, dtype: values.dtype });
    const [sums, total] = linearAttention(q, k, ones, weights);
    const under = slice(sums, { ends: [batch, length, heads, 1] });
    return [div(over, add(under, this.eps)), after, total];
  }

  /** Of the projections. */
  static parameters({
    dim,
    heads,
    headDim,
    bias,
  }: {
    dim: number;
    heads: number;
    headDim: number;
    bias: boolean;
  }) {
    const parts = [heads, heads, heads];
    return Heads.parameters({ dim, parts, headDim, bias }) + Out.parameters({ dim, heads, headDim, bias });
  }
}
