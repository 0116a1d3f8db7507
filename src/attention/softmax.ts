/** How kinds with a softmax over keys reach the engine: packed heads in training, a cache with room in decoding. */
import { attention, packedAttention } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Context } from './attention.js';
import { RowCache } from './cache.js';
import type { CommonConfig } from './config.js';
import { headsOf } from './heads.js';

/** Of qkv [B, T, heads + 2 kvHeads, D], turned already: what the heads see. A cache of rows k and v takes what is new. */
export function attendPacked(
  qkv: Tensor,
  { heads, kvHeads, window, alibi }: Pick<CommonConfig, 'heads' | 'kvHeads' | 'window' | 'alibi'>,
  { causal, mask, cache }: Pick<Context, 'causal' | 'mask' | 'cache'>,
): Tensor {
  const attrs = { causal, window, alibi };
  if (!(cache instanceof RowCache)) return packedAttention(qkv, mask, { heads, kvHeads, ...attrs });
  const keys = heads + kvHeads;
  const all = cache.append({ k: headsOf(qkv, heads, keys), v: headsOf(qkv, keys, keys + kvHeads) });
  return attention(headsOf(qkv, 0, heads), all.k!, all.v!, mask, { ...attrs, keys: cache.length });
}
