/** Parameters and gradients that look random, for tests of optimisers. */
import { Parameter } from '../../src/nn/parameter.js';
import type { Shape } from '../../src/tensor/shape.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';

export const shapes: Shape[] = [[8, 16], [5], [3, 7, 11], [64], [24, 8], []];
export const sizeOf = (shape: Shape) => shape.reduce((n, d) => n * d, 1);

/** Numbers in [-1, 1) by a linear congruence. */
export function numbers(n: number, seed: number): Float64Array {
  let state = (seed * 2654435761) >>> 0;
  return Float64Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(state / 2 ** 31 - 1);
  });
}

export const given = (shape: Shape, seed: number) => tensor(numbers(sizeOf(shape), seed), shape);
export const parameters = (which: Shape[] = shapes) => which.map((s, i) => new Parameter(given(s, i + 1)));

/** Sets gradients for a step; null leaves a parameter without one. */
export function setGrads(
  params: readonly Tensor[],
  step: number,
  without: readonly number[] = [],
): (Float64Array | null)[] {
  return params.map((p, i) => {
    const values = without.includes(i) ? null : numbers(p.size, 1000 * (step + 1) + i);
    const grad = values && tensor(values, p.shape);
    p.grad = grad;
    grad?.dispose();
    return values;
  });
}
