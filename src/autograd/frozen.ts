/** Parameters as constants. */
import type { Tensor } from '../tensor/tensor.js';
import { holdEdge } from './graph.js';

/** Runs `fn`, which is not async, while no gradient flows into `tensors`: leaves such as parameters. */
export function frozen<T>(tensors: readonly Tensor[], fn: () => T): T {
  const edges = tensors.map(holdEdge);
  for (const t of tensors) t.edge = undefined;
  try {
    return fn();
  } finally {
    tensors.forEach((t, i) => {
      t.edge = edges[i];
    });
  }
}
