/**
 * Gated linear attention (Yang et al., "Gated linear attention transformers with hardware-efficient training",
 * arXiv:2312.06635, §4): a state whose channels fade, each at a rate that each token sets,
 *
 *   S_t = diag(α_t) S_{t-1} + k_t v_tᵀ,   α_t = sigmoid(W₂ W₁ x_t + b)^(1/16),   o_t = S_tᵀ q_t
 *   y_t = (RMSNorm(o_t) ⊙ silu(G x_t)) W_out, the norm of each head by itself
 *
 * The paper has no positions but the decays. With a rope, queries and keys are turned: what is read then depends on
 * distances alone as far as the two channels of a pair fade alike.
 */
import { z } from 'zod';
import { ones } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import { Parameter } from '../nn/parameter.js';
import { linearAttention, mul, rmsNorm, where } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttentionInits, type AttentionKind, defineAttention } from './attention.js';
import type { ConfigInput } from './shared/config.js';
import { logDecay, memories } from './shared/decays.js';
import { Heads, Out } from './shared/heads.js';
import { emptyState, type Reading, RecurrentAttention, recurrentOptions } from './shared/recurrent.js';

const options = {
  ...recurrentOptions,
  rank: z.int().min(1).default(16).describe('of the projection that decays come from'),
  gate: z.boolean().default(true).describe('what is read is gated by SiLU of a projection of x'),
};

const EPS = 1e-6;

export class GatedLinearAttention extends RecurrentAttention<typeof options> {
  readonly qkv: Heads;
  /** W₁ [rank, dim], then W₂ [heads headDim, rank] and b. */
  readonly narrow: Linear;
  readonly decay: Linear;
  /** Of the RMSNorm of each head's reading. */
  readonly norm: Parameter;
  readonly gate: Linear | null;
  protected readonly out: Out;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(glaKind, config);
    const { dim, heads, headDim, bias, rank, gate } = this.config;
    const { init, biasInit } = inits;
    const width = heads * headDim;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.narrow = new Linear(dim, rank, { bias: false, init });
    this.decay = new Linear(rank, width, { init, biasInit: () => memories(heads, headDim) });
    this.norm = new Parameter(ones([headDim]));
    this.gate = gate ? new Linear(dim, width, { bias, init, biasInit }) : null;
    this.out = new Out(this.config, inits);
  }

  protected read(x: Tensor, reading: Reading, [before]: readonly Tensor[]): [Tensor, ...Tensor[]] {
    const { heads, headDim } = this.config;
    const { batch, length, keep, rotate } = reading;
    const [q, k, v] = this.qkv.split(rotate(this.qkv.heads(x), 2 * heads)) as [Tensor, Tensor, Tensor];
    const logits = this.decay.forward(this.narrow.forward(x)).reshape([batch, length, heads, headDim]);
    const decay = logDecay(logits);
    // Padding adds nothing, and lets nothing fade.
    const kept = keep?.reshape([batch, length, 1, 1]);
    const state = before ?? emptyState(batch, heads, headDim, headDim);
    const [o, after] = linearAttention(
      q,
      kept ? where(kept, k, 0) : k,
      v,
      state,
      kept ? where(kept, decay, 0) : decay,
    );
    const normed = rmsNorm(o, this.norm, { eps: EPS }).reshape([batch, length, heads * headDim]);
    return [this.gate ? mul(normed, this.gate.forward(x, { activation: 'silu' })) : normed, after];
  }
}

export const glaKind: AttentionKind<typeof options> = defineAttention({
  kind: 'gla',
  name: 'GatedLinearAttention',
  doc: 'one state whose channels fade at rates that each token sets',
  source: 'Yang et al. 2024, arXiv:2312.06635',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: { mask: 'keys', causal: 'always', window: false, alibi: false, rope: true, grouped: false },
  samples: [{ gate: false, rank: 3, bias: false, headDim: 6 }],
  parameters: ({ dim, heads, headDim, bias, rank, gate }) => {
    const width = heads * headDim;
    const biased = dim + (bias ? 1 : 0);
    return (
      3 * width * biased +
      rank * dim +
      width * (rank + 1) +
      headDim +
      (gate ? width * biased : 0) +
      dim * (width + (bias ? 1 : 0))
    );
  },
  create: (config, inits) => new GatedLinearAttention(config, inits),
});
