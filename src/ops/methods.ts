/**
 * Ops as methods: `x.add(y)` is `add(x, y)`. Every op whose first operand is a tensor is one, by its export name;
 * the types follow from the ops themselves.
 */
import { Tensor } from '../tensor/tensor.js';
import { isOp } from './define.js';
import * as exported from './index.js';

type Exports = typeof exported;

// biome-ignore lint/suspicious/noExplicitAny: any further operands and attributes
type TensorOp = (x: Tensor, ...rest: any[]) => Tensor;

/** The ops that take a tensor first, with that tensor bound. */
export type Methods = {
  [K in keyof Exports as Exports[K] extends TensorOp ? K : never]: Exports[K] extends (
    x: Tensor,
    ...rest: infer Rest
  ) => Tensor
    ? (...rest: Rest) => Tensor
    : never;
};

declare module '../tensor/tensor.js' {
  interface Tensor extends Methods {}
}

for (const [name, callable] of Object.entries(exported)) {
  if (!isOp(callable) || callable.op.inputs.length === 0) continue;
  Object.defineProperty(Tensor.prototype, name, {
    value(this: Tensor, ...rest: unknown[]) {
      return callable(this, ...rest);
    },
    writable: true,
    configurable: true,
  });
}
