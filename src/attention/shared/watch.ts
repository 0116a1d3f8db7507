/** Who is told of weights that a kind holds in full: metrics, while they watch a forward pass. */
import type { Tensor } from '../../tensor/tensor.js';

let watcher: ((weights: Tensor) => void) | undefined;

/** Runs `fn`, which is not async, and tells `seen` the weights [batch, heads, length, keys] that are made in it. */
export function watchWeights<T>(seen: (weights: Tensor) => void, fn: () => T): T {
  const before = watcher;
  watcher = seen;
  try {
    return fn();
  } finally {
    watcher = before;
  }
}

export function told(weights: Tensor): Tensor {
  watcher?.(weights);
  return weights;
}
