/**
 * Softmax attention without a matrix of values, after the shared-block experiments with a = "attention, v the identity":
 * heads choose tokens, and what is gathered is the input itself, y = (1/H) Σ_h softmax(q_h k_hᵀ / √D) x, all channels of
 * it. (SAS-P of He & Hofmann, arXiv:2311.01906, is the published block without values and projections.)
 *
 * The mean over heads, so that the weights of a token add up to 1 and y is of the size of x; the experiments took the
 * sum, H times as much, which attentionScale: H of a model gives. Heads share what they gather, so their weights are added
 * before the one product with x: the T × T matrices of all heads are there while they are.
 */
import { z } from 'zod';
import { Linear, type LinearCall } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { add, matmul, mean, mul, permute } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import { RowCache } from './shared/cache.js';
import type { ConfigInput } from './shared/config.js';
import { Heads } from './shared/heads.js';
import { visibleSoftmax } from './shared/weights.js';

const options = {
  project: z.boolean().default(false).describe('what is gathered is projected: [dim, dim]'),
};

/** In the place of the projection, where there is none. */
class AsItIs extends Module {
  forward(x: Tensor, { residual }: LinearCall = {}): Tensor {
    return residual ? add(residual, x) : x;
  }
}

export class NoValueAttention extends Attention<typeof options> {
  /** Queries and keys: [2 heads headDim, dim]. */
  readonly qk: Heads;
  readonly out: Linear | AsItIs;

  constructor(config: ConfigInput<typeof options>, { init, outInit = init, biasInit }: AttentionInits = {}) {
    super(noValueKind, config);
    const { dim, heads, headDim, bias, project } = this.config;
    this.qk = new Heads({ dim, parts: [heads, heads], headDim, bias }, { init, biasInit });
    this.out = project ? new Linear(dim, dim, { bias, init: outInit, biasInit }) : new AsItIs();
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, headDim, window } = this.config;
    const { cache } = context;
    let [q, k] = this.qk.split(context.rotate(this.qk.heads(x), 2 * heads)) as [Tensor, Tensor];
    let seen = x;
    if (cache instanceof RowCache) {
      cache.append({ k, x });
      [k, seen] = [cache.rows('k'), cache.rows('x')];
    }
    [q, k] = [q, k].map((t) => permute(t, { axes: [0, 2, 1, 3] })) as [Tensor, Tensor];
    const scores = mul(matmul(q, k, { transposeB: true }), 1 / Math.sqrt(headDim));
    const weights = visibleSoftmax(scores, { ...context, window });
    return matmul(mean(weights, { axis: 1 }), seen);
  }

  protected makeCache(batch: number): RowCache<'k' | 'x'> {
    const { heads, headDim, dim } = this.config;
    return new RowCache(batch, { k: [heads, headDim], x: [dim] });
  }
}

export const noValueKind: AttentionKind<typeof options> = defineAttention({
  kind: 'novalue',
  name: 'NoValueAttention',
  doc: 'softmax of the heads gathers the input itself: no values, and no projection unless asked for',
  source: 'shared-block GPT-2 experiments; He & Hofmann 2023, arXiv:2311.01906',
  options,
  complexity: { time: 'T^2', memory: 'T^2', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: false, rope: true, grouped: false },
  samples: [{ project: true }, { window: 3, project: true, bias: false }, { causal: false, headDim: 6 }],
  parameters: ({ dim, heads, headDim, bias, project }) =>
    Heads.parameters({ dim, parts: [heads, heads], headDim, bias }) +
    (project ? dim * (dim + (bias ? 1 : 0)) : 0),
  create: (config, inits) => new NoValueAttention(config, inits),
});
