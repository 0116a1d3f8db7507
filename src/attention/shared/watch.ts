/** Who is told of layers that are called and of weights that a kind holds in full: metrics, while they watch a forward pass. */
import type { Tensor } from '../../tensor/tensor.js';

interface Watcher {
  /** A layer of attention begins. */
  layer(layer: object): void;
  /** [batch, heads, length, keys] */
  weights(weights: Tensor): void;
}

let watcher: Watcher | undefined;

/** Runs `fn`, which is not async, and tells `seen` what is called and made in it. */
export function watchLayers<T>(seen: Watcher, fn: () => T): T {
  const before = watcher;
  watcher = seen;
  try {
    return fn();
  } finally {
    watcher = before;
  }
}

export function told(weights: Tensor): Tensor {
  watcher?.weights(weights);
  return weights;
}

export const entering = (layer: object): void => watcher?.layer(layer);
