/** Exact softmax of heads that lie side by side: what every kind with keys and values of its own ends in. */
import { attention, packedAttention } from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Context } from '../attention.js';
import { RowCache } from './cache.js';
import type { CommonConfig } from './config.js';
import { headsOf } from './heads.js';

/** Of each token its keys and its values. */
export type KeyCache = RowCache<'k' | 'v'>;

export const keyCache = (
  batch: number,
  { kvHeads, headDim }: Pick<CommonConfig, 'kvHeads' | 'headDim'>,
): KeyCache => new RowCache(batch, { k: [kvHeads, headDim], v: [kvHeads, headDim] });

/**
 * softmax(q kᵀ / √D) v in tiles, of qkv [batch, length, heads + 2 kvHeads, D], turned already; with a cache, over its
 * keys and those of qkv, which it takes up.
 */
export function attendPacked(
  qkv: Tensor,
  { heads, kvHeads, window, alibi }: Pick<CommonConfig, 'heads' | 'kvHeads' | 'window' | 'alibi'>,
  { causal, mask, cache }: Pick<Context, 'causal' | 'mask' | 'cache'>,
): Tensor {
  const attrs = { causal, window, alibi };
  if (!(cache instanceof RowCache)) return packedAttention(qkv, mask, { heads, kvHeads, ...attrs });
  const keys = heads + kvHeads;
  const { k, v } = cache.append({ k: headsOf(qkv, heads, keys), v: headsOf(qkv, keys, keys + kvHeads) });
  return attention(headsOf(qkv, 0, heads), k!, v!, mask, { ...attrs, keys: cache.length });
}
