/**
 * Multi-head attention as it was published (Vaswani et al., "Attention is all you need", 2017), step by step, with its
 * T × T matrix of weights: the baseline that the others are measured against.
 */
import { Linear } from '../nn/linear.js';
import { add, fill, greaterEqual, matmul, mul, permute, softmax, tril, triu, where } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import { RowCache } from './cache.js';
import type { ConfigInput } from './config.js';
import { Heads } from './heads.js';

const options = {};

/** What a key that may not be seen scores: its weight is 0 beside any other, and finite where there is none. */
const HIDDEN = -1e30;

export class MultiHeadAttention extends Attention<typeof options> {
  readonly qkv: Heads;
  readonly out: Linear;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(mha, config);
    const { dim, heads, headDim, bias } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.out = new Linear(heads * headDim, dim, {
      bias,
      init: inits.outInit ?? inits.init,
      biasInit: inits.biasInit,
    });
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
    return permute(matmul(this.#weights(scores, context), vh), { axes: [0, 2, 1, 3] });
  }

  /** softmax of what may be seen; a query that sees nothing has weights of 0. */
  #weights(scores: Tensor, { mask, causal }: Context): Tensor {
    const [, , length, keys] = scores.shape as [number, number, number, number];
    const added = mask && mask.dtype !== 'bool' ? add(scores, mask) : scores;
    const kept = mask && mask.dtype !== 'bool' ? greaterEqual(mask, HIDDEN) : mask;
    const order = this.#order(length, keys, causal);
    const visible =
      order && kept ? where(kept, order, fill({ shape: [], value: 0, dtype: 'bool' })) : (order ?? kept);
    if (!visible) return softmax(added, { axis: -1 });
    const weights = softmax(where(visible, added, HIDDEN), { axis: -1 });
    return kept || length > keys ? where(visible, weights, 0) : weights;
  }

  /** bool [length, keys]: what causal order and window leave visible; undefined where that is everything. */
  #order(length: number, keys: number, causal: boolean): Tensor | undefined {
    const { window } = this.config;
    if (!causal && window === 0) return undefined;
    const shift = keys - length;
    const all = fill({ shape: [length, keys], value: 1, dtype: 'bool' });
    const past = tril(all, { diagonal: causal ? shift : shift + window - 1 });
    return window > 0 ? triu(past, { diagonal: shift - window + 1 }) : past;
  }

  protected makeCache(batch: number): RowCache<'k' | 'v'> {
    const { heads, headDim } = this.config;
    return new RowCache(batch, { k: [heads, headDim], v: [heads, headDim] });
  }
}

export const mha: AttentionKind<typeof options> = defineAttention({
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
    heads * headDim * dim +
    (bias ? dim : 0),
  create: (config, inits) => new MultiHeadAttention(config, inits),
});
