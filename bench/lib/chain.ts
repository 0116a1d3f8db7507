/** A chain of dependent small ops: what one costs from the call in JavaScript to the value that is read. */
import { add } from '../../src/ops/binary.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { scope } from '../../src/tensor/scope.js';
import { type Tensor, tensor } from '../../src/tensor/tensor.js';
import type { Contender } from './timing.js';

export const CHAIN = 10_000;

/** Seconds of one op, in a chain of 10,000 additions of 16x16 that ends with a read. */
export function chain(on: Runtime): Contender & { dispose(): void } {
  const values = new Float32Array(256).fill(0.5);
  const a = tensor(values, [16, 16], { runtime: on });
  const b = tensor(values, [16, 16], { runtime: on });
  const sample = async () => {
    const start = performance.now();
    const result = await scope(async () => {
      let x: Tensor = a;
      for (let i = 0; i < CHAIN; i++) x = add(x, b);
      return (await x.data())[0]!;
    });
    const seconds = (performance.now() - start) / 1e3 / CHAIN;
    if (result !== 0.5 + CHAIN * 0.5) throw new Error(`the chain of additions gave ${result}`);
    return [seconds];
  };
  return {
    sample,
    begin: async () => void (await sample()),
    dispose() {
      a.dispose();
      b.dispose();
    },
  };
}
