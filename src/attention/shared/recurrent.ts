/** Kinds whose memory is a state of fixed size: decoded from it, trained in one piece or in stretches that hand it on. */
import { z } from 'zod';
import { segmented } from '../../autograd/segments.js';
import { residualOf } from '../../nn/linear.js';
import { add, fill, slice } from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import { Attention, type Context } from '../attention.js';
import { StateCache } from './cache.js';
import type { Options } from './config.js';

export const recurrentOptions = {
  segment: z
    .int()
    .min(0)
    .default(0)
    .describe(
      'above 0, causal training runs over so many tokens at a time, and computes each stretch again for its gradient',
    ),
};

/** What a stretch of tokens sees of its call. */
export type Reading = Pick<Context, 'batch' | 'length' | 'offset' | 'causal' | 'keep' | 'rotate'>;

export abstract class RecurrentAttention<O extends Options & typeof recurrentOptions> extends Attention<O> {
  /**
   * What the heads read [batch, length, heads, headDim] or [batch, length, heads headDim], and the states after the last
   * token; `before` are those before the first, none at the start. A call that is not causal has no states.
   */
  protected abstract read(
    x: Tensor,
    reading: Reading,
    before: readonly Tensor[],
  ): [o: Tensor, ...after: Tensor[]];

  protected override layer(x: Tensor, context: Context, residual?: Tensor): Tensor {
    const { segment } = this.config as unknown as { segment: number };
    const { length, batch, causal, cache } = context;
    if (segment === 0 || length <= segment || !causal || cache) return super.layer(x, context, residual);
    const y = segmented(
      (part, from, states) => {
        const tokens = part.shape[1]!;
        const [o, ...after] = this.read(part, stretchOf(context, from, tokens), states);
        const flat = o.rank === 3 ? o : o.reshape([batch, tokens, o.shape[2]! * o.shape[3]!]);
        return [residualOf(this, this.out, flat, undefined), ...after];
      },
      x,
      segment,
    );
    return residual ? add(residual, y) : y;
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { cache, length } = context;
    if (!(cache instanceof StateCache)) return this.read(x, context, [])[0];
    const [o, ...after] = this.read(x, context, statesOf(cache));
    cache.advance(length, Object.fromEntries(after.map((state, i) => [i, state])));
    return o;
  }

  protected makeCache(batch: number): StateCache {
    return new StateCache(batch);
  }
}

function statesOf(cache: StateCache): Tensor[] {
  const states: Tensor[] = [];
  for (let state = cache.get('0'); state; state = cache.get(String(states.length))) states.push(state);
  return states;
}

/** What a stretch of a call sees of it. */
const stretchOf = (
  { batch, offset, causal, keep, rotate }: Context,
  from: number,
  length: number,
): Reading => ({
  batch,
  length,
  offset: offset + from,
  causal,
  keep: keep && slice(keep, { starts: [0, from], ends: [batch, from + length] }),
  rotate: (t, heads) => rotate(t, heads, from),
});

/** A state to begin with, where one has to be there. */
export const emptyState = (batch: number, heads: number, keys: number, values: number): Tensor =>
  fill({ shape: [batch, heads, keys, values] });
