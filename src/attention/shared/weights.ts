/** Weights of scores that are there in full: of baselines, and of the few queries of a decoding step. */
import { add, fill, greaterEqual, softmax, tril, triu, where } from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { Context } from '../attention.js';
import { told } from './watch.js';

/** What a key that may not be seen scores: its weight is 0 beside any other, and finite where there is none. */
const HIDDEN = -1e30;

export type Visibility = Pick<Context, 'mask' | 'causal'> & { window: number };

/** softmax of scores [batch, heads, length, keys] over what may be seen; a query that sees nothing has weights of 0. */
export function visibleSoftmax(scores: Tensor, { mask, causal, window }: Visibility): Tensor {
  const [, , length, keys] = scores.shape as [number, number, number, number];
  const added = mask && mask.dtype !== 'bool' ? add(scores, mask) : scores;
  const kept = mask && mask.dtype !== 'bool' ? greaterEqual(mask, HIDDEN) : mask;
  const order = orderOf(length, keys, causal, window);
  const visible =
    order && kept ? where(kept, order, fill({ shape: [], value: 0, dtype: 'bool' })) : (order ?? kept);
  if (!visible) return told(softmax(added, { axis: -1 }));
  const weights = softmax(where(visible, added, HIDDEN), { axis: -1 });
  return told(kept || length > keys ? where(visible, weights, 0) : weights);
}

/** bool [length, keys]: what causal order and window leave visible; undefined where that is everything. */
function orderOf(length: number, keys: number, causal: boolean, window: number): Tensor | undefined {
  if (window === 0 && (!causal || length === 1)) return undefined;
  const shift = keys - length;
  const all = fill({ shape: [length, keys], value: 1, dtype: 'bool' });
  const past = tril(all, { diagonal: causal ? shift : shift + window - 1 });
  return window > 0 ? triu(past, { diagonal: shift - window + 1 }) : past;
}
