/**
 * Ops as methods: `x.add(y)` is `add(x, y)`. Every op whose first operand is a tensor is one, by its export name;
 * the types follow from the ops themselves.
 */
import { Tensor } from '../tensor/tensor.js';
import { type Given, isOp } from './define.js';
import * as exported from './index.js';

type Exports = typeof exported;

/** Gradients and optimisers' steps: their exports end so, and they are no methods (`internal` says it to the loop). */
type Internal = `${string}Backward` | `${string}Step`;

/**
 * The ops that take a tensor first, with that tensor bound. Only place 0 is looked at: comparing whole lists of tensors
 * would need Tensor itself, which is being defined here.
 */
export type Methods = {
  [K in keyof Exports as K extends Internal
    ? never
    : Exports[K] extends { signature?: { args: { 0: unknown } } }
      ? K
      : never]: Exports[K] extends {
    signature?: { args: [unknown, ...infer Rest]; attrs: infer A; result: infer R };
  }
    ? (...rest: Given<Rest, A & object>) => R
    : never;
};

declare module '../tensor/tensor.js' {
  interface Tensor extends Methods {}
}

for (const [name, callable] of Object.entries(exported)) {
  if (!isOp(callable) || callable.op.inputs.length === 0 || callable.op.internal) continue;
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return callable(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
}
