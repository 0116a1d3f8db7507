/** attention with the statistics of its rows: apart from the ops, which return what their contract says. */
import type { Tensor } from '../tensor/tensor.js';
import { attention } from './attention.js';
import type { AttentionAttrs } from './attention.walk.js';
import { checkAttrs } from './define.js';
import { record } from './record.js';

/**
 * `attention` and its statistics: `lse` is the log-sum-exp of each row of scores and `entropy` that of its weights in
 * nats, both float32 [B, Hq, Tq]. Gradients flow through `out` alone.
 */
export function attentionStats(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  mask?: Tensor,
  attrs: Partial<AttentionAttrs> = {},
): { out: Tensor; lse: Tensor; entropy: Tensor } {
  const operands = mask === undefined ? [q, k, v] : [q, k, v, mask];
  const [out, lse, entropy] = record(
    attention.op as never,
    operands,
    checkAttrs(attention.op, { ...attrs, entropy: true }),
  ) as [Tensor, Tensor, Tensor];
  return { out, lse, entropy };
}
