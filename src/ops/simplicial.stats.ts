/** simplicialAttention with the statistics of its rows: apart from the ops, which return what their contract says. */
import type { Tensor } from '../tensor/tensor.js';
import { checkAttrs } from './define.js';
import { record } from './record.js';
import { simplicialAttention } from './simplicial.js';
import type { SimplicialAttrs } from './simplicial.walk.js';

/**
 * `simplicialAttention` and its statistics: `lse` is the log-sum-exp of each query's scores and `entropy` that of its
 * weights of pairs in nats, both float32 [B, Hq, Tq]. Gradients flow through `out` alone.
 */
export function simplicialStats(
  [q, k, v, k2, v2]: readonly [q: Tensor, k: Tensor, v: Tensor, k2: Tensor, v2: Tensor],
  mask?: Tensor,
  attrs: Partial<SimplicialAttrs> = {},
): { out: Tensor; lse: Tensor; entropy: Tensor } {
  const [out, lse, entropy] = record(
    simplicialAttention.op as never,
    [q, k, v, k2, v2, ...(mask ? [mask] : [])],
    checkAttrs(simplicialAttention.op, { ...attrs, entropy: true }),
  ) as [Tensor, Tensor, Tensor];
  return { out, lse, entropy };
}
