/**
 * Exact softmax attention in tiles (Dao, "FlashAttention-2", arXiv:2307.08691), with grouped keys and values (Ainslie et
 * al., EMNLP 2023): softmax(q kᵀ / √D) v with no T × T matrix.
 */
import { z } from 'zod';
import { Linear } from '../nn/linear.js';
import { attention, packedAttention } from '../ops/index.js';
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
import { Heads, QKNorm } from './heads.js';

const options = {
  qkNorm: z.boolean().default(false).describe('RMSNorm of each query and key, before the rotation'),
};

export class FlashAttention extends Attention<typeof options> {
  /** Queries, keys and values: [(heads + 2 kvHeads) headDim, dim]. */
  readonly qkv: Heads;
  readonly norm: QKNorm | null;
  readonly out: Linear;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(flashKind, config);
    const { dim, heads, kvHeads, headDim, bias, qkNorm } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }, inits);
    this.norm = qkNorm ? new QKNorm(headDim) : null;
    this.out = new Linear(heads * headDim, dim, {
      bias,
      init: inits.outInit ?? inits.init,
      biasInit: inits.biasInit,
    });
  }

  protected attend(x: Tensor, { causal, mask, cache, rotate }: Context): Tensor {
    const { heads, kvHeads, window } = this.config;
    let qkv = this.qkv.heads(x);
    if (this.norm) qkv = this.norm.packed(qkv, heads, kvHeads);
    qkv = rotate(qkv, heads + kvHeads);
    if (!(cache instanceof RowCache)) return packedAttention(qkv, mask, { heads, kvHeads, causal, window });
    const [q, k, v] = this.qkv.split(qkv);
    cache.append({ k: k!, v: v! });
    return attention(q!, cache.rows('k'), cache.rows('v'), mask, { causal, window });
  }

  protected makeCache(batch: number): RowCache<'k' | 'v'> {
    const { kvHeads, headDim } = this.config;
    return new RowCache(batch, { k: [kvHeads, headDim], v: [kvHeads, headDim] });
  }
}

export const flashKind: AttentionKind<typeof options> = defineAttention({
  kind: 'flash',
  name: 'FlashAttention',
  doc: 'exact softmax in tiles; grouped keys, QK-norm',
  source: 'Dao 2023, arXiv:2307.08691',
  options,
  complexity: { time: 'T^2', memory: 'T', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: true, rope: true, grouped: true },
  samples: [{ kvHeads: 1, qkNorm: true }, { window: 3 }, { causal: false }, { bias: false, headDim: 6 }],
  parameters: ({ dim, heads, kvHeads, headDim, bias, qkNorm }) =>
    Heads.parameters({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }) +
    heads * headDim * dim +
    (bias ? dim : 0) +
    (qkNorm ? 2 * headDim : 0),
  create: (config, inits) => new FlashAttention(config, inits),
});
