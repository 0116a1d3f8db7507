/** Row entropies of every layer of a model, from one forward pass. */
import { noGrad } from '../../autograd/modes.js';
import type { Module } from '../../nn/module.js';
import { scope } from '../../tensor/scope.js';
import type { Tensor } from '../../tensor/tensor.js';
import { Attention } from '../attention.js';
import { entropiesOf, meansOf, release, uniformOf, watch } from './metrics.js';

/** Of one call of a layer. */
export interface LayerEntropy {
  kind: string;
  /** Mean over batch and queries of the Shannon entropy of the rows of each head, in nats. Null: the kind has no rows. */
  heads: Float64Array | null;
  /** What uniform weights over the keys that order and window leave visible would have. */
  uniform: number;
}

/**
 * Entropies of the layers of attention that `forward` calls, in the order of the calls: a block that is shared is told
 * once for each. Everything is recorded before this function first waits, without gradients; `model` should be in
 * evaluation mode.
 */
export async function layerEntropies(model: Module, forward: () => Tensor): Promise<LayerEntropy[]> {
  const layers = [...new Set(model.modules())].filter((m) => m instanceof Attention);
  const run = layers.reduce<() => Tensor>((inner, layer) => () => layer.watched(inner), forward);
  const calls = watch(() => noGrad(run));
  try {
    return await scope(() =>
      Promise.all(
        calls.slice(1).map(async (seen) => {
          const { kind, config } = seen.layer as Attention;
          const found = entropiesOf(seen);
          if (!found) return { kind: kind.kind, heads: null, uniform: Number.NaN };
          const { causal, window } = config;
          const uniform = uniformOf({ Tq: found.shape[2], Tk: found.keys, causal, window });
          const rows = (await found.entropies.data()) as Float32Array;
          return { kind: kind.kind, heads: meansOf(rows, found.shape), uniform };
        }),
      ),
    );
  } finally {
    release(calls);
  }
}
