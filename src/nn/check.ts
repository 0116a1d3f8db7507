/** What layers check of their options. */
import { ArgumentError } from '../runtime/errors.js';
import { describe } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

export function checkSizes(op: string, sizes: Record<string, number>): void {
  for (const [name, n] of Object.entries(sizes))
    if (!Number.isInteger(n) || n < 1)
      throw new ArgumentError(`${name} is ${String(n)}`, { op, hint: 'it is a whole number, at least 1' });
}

export function checkProbability(op: string, p: number, name = 'dropout'): number {
  if (!(p >= 0 && p < 1))
    throw new ArgumentError(`${name} is ${String(p)}`, { op, hint: 'it is a probability below 1' });
  return p;
}

export function checkTensor(op: string, name: string, x: unknown): void {
  if (!(x instanceof Tensor))
    throw new ArgumentError(`'${name}' must be a tensor but is ${describe(x)}`, {
      op,
      hint: 'make one with tensor(values)',
    });
}
