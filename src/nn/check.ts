/** What layers check of their options. */
import { ArgumentError } from '../runtime/errors.js';

export function checkSizes(op: string, sizes: Record<string, number>): void {
  for (const [name, n] of Object.entries(sizes))
    if (!Number.isInteger(n) || n < 1)
      throw new ArgumentError(`${name} is ${String(n)}`, { op, hint: 'it is a whole number, at least 1' });
}

export function checkProbability(op: string, p: number): number {
  if (!(p >= 0 && p < 1))
    throw new ArgumentError(`dropout is ${String(p)}`, { op, hint: 'it is a probability below 1' });
  return p;
}
