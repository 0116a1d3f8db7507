/**
 * Exact softmax attention in tiles (Dao, "FlashAttention-2", arXiv:2307.08691), with grouped keys and values (Ainslie et
 * al., EMNLP 2023): softmax(q kᵀ / √D) v with no T × T matrix.
 */
import { z } from 'zod';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import type { ConfigInput } from './shared/config.js';
import { Heads, Out, QKNorm } from './shared/heads.js';
import { attendPacked, type KeyCache, keyCache } from './shared/packed.js';

const options = {
  qkNorm: z.boolean().default(false).describe('RMSNorm of each query and key, before the rotation'),
};

export class FlashAttention extends Attention<typeof options> {
  /** Queries, keys and values: [(heads + 2 kvHeads) headDim, dim]. */
  readonly qkv: Heads;
  readonly norm: QKNorm | null;
  readonly out: Out;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(flashKind, config);
    const { dim, heads, kvHeads, headDim, bias, qkNorm } = this.config;
    this.qkv = new Heads({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }, inits);
    this.norm = qkNorm ? new QKNorm(headDim) : null;
    this.out = new Out(this.config, inits);
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, kvHeads } = this.config;
    let qkv = this.qkv.heads(x);
    if (this.norm) qkv = this.norm.packed(qkv, heads, kvHeads);
    return attendPacked(context.rotate(qkv, heads + kvHeads), this.config, context);
  }

  protected makeCache(batch: number): KeyCache {
    return keyCache(batch, this.config);
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
  samples: [
    { kvHeads: 1, qkNorm: true },
    { window: 3 },
    { alibi: true },
    { causal: false },
    { bias: false, headDim: 6 },
  ],
  parameters: ({ dim, heads, kvHeads, headDim, bias, qkNorm }) =>
    Heads.parameters({ dim, parts: [heads, kvHeads, kvHeads], headDim, bias }) +
    Out.parameters({ dim, heads, headDim, bias }) +
    (qkNorm ? 2 * headDim : 0),
  create: (config, inits) => new FlashAttention(config, inits),
});
