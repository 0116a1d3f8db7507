/**
 * Multi-head attention as it was published (Vaswani et al., "Attention is all you need", 2017), step by step, with its
 * T × T matrix of weights: the baseline that the others are measured against.
 */
import { matmul, mul, permute } from '../ops/index.js';
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
import { Heads, Out } from './shared/heads.js';
import { visibleSoftmax } from './shared/weights.js';

const options = {};

export class MultiHeadAttention extends Attention<typeof options> {
  readonly qkv: Heads;
  readonly out: Out;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(mhaKind, config);
    const { dim, heads, headDim, bias } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.out = new Out(this.config, inits);
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, headDim } = this.config;
    const { cache } = context;
    const qkv = context.rotate(this.qkv.heads(x), 2 * heads);
    let [q, k, v] = this.qkv.split(qkv) as [Tensor, Tensor, Tensor];
    if (cache instanceof RowCache) {
      cache.append({ k, v });
      [k, v] = [cache.rows('k'), cache.rows('v')];
    }
    const [qh, kh, vh] = [q, k, v].map((t) => permute(t, { axes: [0, 2, 1, 3] })) as [Tensor, Tensor, Tensor];
    const scores = mul(matmul(qh, kh, { transposeB: true }), 1 / Math.sqrt(headDim));
    return permute(matmul(visibleSoftmax(scores, { ...context, window: this.config.window }), vh), {
      axes: [0, 2, 1, 3],
    });
  }

  protected makeCache(batch: number): RowCache<'k' | 'v'> {
    const { heads, headDim } = this.config;
    return new RowCache(batch, { k: [heads, headDim], v: [heads, headDim] });
  }
}

export const mhaKind: AttentionKind<typeof options> = defineAttention({
  kind: 'mha',
  name: 'MultiHeadAttention',
  doc: 'softmax with its T × T matrix: the baseline',
  source: 'Vaswani et al. 2017, arXiv:1706.03762',
  options,
  complexity: { time: 'T^2', memory: 'T^2', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: false, rope: true, grouped: false },
  samples: [{ window: 3 }, { causal: false, window: 2 }],
  parameters: ({ dim, heads, headDim, bias }) =>
    Heads.parameters({ dim, parts: [heads, heads, heads], headDim, bias }) +
    Out.parameters({ dim, heads, headDim, bias }),
  create: (config, inits) => new MultiHeadAttention(config, inits),
});
