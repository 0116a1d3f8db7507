/** Gradients of functions: `grad(f)` and `valueAndGrad(f)`, which leave `x.grad` alone. */
import { ArgumentError } from '../runtime/errors.js';
import { allocateArray } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { describe } from '../tensor/shape.js';
import { Tensor, tensor } from '../tensor/tensor.js';
import { backward } from './backward.js';
import { setRequiresGrad } from './leaf.js';
import { enableGrad } from './modes.js';

type Fn<A extends unknown[]> = (...args: A) => Tensor;

export interface ValueAndGrad {
  value: Tensor;
  /** Of each tensor argument in order; zeros where the value does not depend on it. */
  grads: Tensor[];
}

/**
 * A function that gives f's value, a scalar, and its gradient by each tensor among the arguments. Parameters that f
 * closes over get their share as from backward(). f runs in a scope: what it makes ends with the call.
 */
export function valueAndGrad<A extends unknown[]>(f: Fn<A>): (...args: A) => ValueAndGrad {
  const op = 'valueAndGrad';
  if (typeof f !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(f)}`, { op, hint: '(x) => loss' });
  return (...args) =>
    enableGrad(() =>
      scope(() => {
        const leaves: Tensor[] = [];
        const own = args.map((arg) => {
          if (!(arg instanceof Tensor)) return arg;
          const leaf = arg.detach();
          leaves.push(leaf);
          setRequiresGrad(leaf, true);
          return leaf;
        });
        const result: unknown = f(...(own as A));
        if (!(result instanceof Tensor))
          throw new ArgumentError(`the function returned ${describe(result)}, not a tensor`, {
            op,
            hint: 'return a scalar loss; async functions have no place here',
          });
        if (result.edge) backward(result);
        const grads = leaves.map((leaf) => leaf.grad?.reshape(leaf.shape) ?? zerosLike(leaf));
        return { value: result.detach(), grads };
      }),
    );
}

/** The gradients alone. */
export function grad<A extends unknown[]>(f: Fn<A>): (...args: A) => Tensor[] {
  const both = valueAndGrad(f);
  return (...args) => {
    const { value, grads } = both(...args);
    value.dispose();
    return grads;
  };
}

const zerosLike = ({ shape, dtype, size, runtime }: Tensor): Tensor =>
  tensor(allocateArray(dtype, size), shape, { dtype, runtime });
