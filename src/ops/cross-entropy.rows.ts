/** What both files of cross-entropy share. */
import type { Problem } from './contract.js';

export interface CrossEntropyAttrs {
  /** Rows with this label count for nothing. */
  ignoreIndex: number;
  /** Share of the target, 0 … 1, that is spread evenly over the classes. */
  labelSmoothing: number;
  reduction: 'mean' | 'sum' | 'none';
}

/** Their places are the numbers of native/cpu/cross_entropy.cc and shaders/cross_entropy_*.comp. */
export const reductions = ['mean', 'sum', 'none'] as const;

/** Rows and classes. */
export function rowsOf({ inputs: [logits, labels] }: Problem<CrossEntropyAttrs>): {
  rows: number;
  n: number;
} {
  return { rows: labels!.size, n: logits!.shape.at(-1)! };
}
