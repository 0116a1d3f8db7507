/** Clipping by the global norm, for gradients that no optimiser's `maxNorm` clips. */
import { pausing } from '../autograd/modes.js';
import { accumulateStep, add, div, minimum, mul, sqrt, sum } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { describe } from '../tensor/shape.js';
import { Tensor, tensor } from '../tensor/tensor.js';

/**
 * Scales the gradients of `params` in place by min(1, maxNorm / (norm + 1e-6)) and returns their global norm before
 * that, a scalar tensor: nothing waits. Optimisers do the same inside their step, with `maxNorm`, for less.
 */
export function clipGradNorm(params: Iterable<Tensor>, maxNorm: number): Tensor {
  const op = 'clipGradNorm';
  if (typeof maxNorm !== 'number' || !(maxNorm >= 0))
    throw new ArgumentError(`maxNorm is ${String(maxNorm)}`, { op, hint: 'it is a number, 0 or more' });
  if (typeof params !== 'object' || params === null || !(Symbol.iterator in params))
    throw new ArgumentError(`the parameters are ${describe(params)}`, {
      op,
      hint: 'give model.parameters()',
    });
  return pausing(() =>
    scope(() => {
      const grads = [...new Set(params)].flatMap((p, i) => {
        if (!(p instanceof Tensor))
          throw new ArgumentError(`parameter ${i} is ${describe(p)}`, {
            op,
            hint: 'give model.parameters()',
          });
        return p.grad ? [p.grad] : [];
      });
      if (grads.length === 0) return tensor(0);
      const squares = grads.map((g) => sum(mul(g, g)));
      const norm = sqrt(squares.reduce((a, b) => add(a, b)));
      const factor = minimum(div(maxNorm, add(norm, 1e-6)), 1);
      for (const g of grads) accumulateStep(g, mul(g, factor), { replace: true });
      return norm;
    }),
  );
}
