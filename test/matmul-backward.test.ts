/** matmul's gradients. It is linear in each operand, so central differences are exact up to rounding. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpTable, Problem } from '../src/ops/contract.js';
import * as F from '../src/ops/index.js';
import { problemOf } from '../src/ops/record.js';
import { Runtime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';

const cases = [
  { a: [3, 4], b: [4, 5] },
  { a: [4, 3], b: [4, 5], attrs: { transposeA: true } },
  { a: [3, 4], b: [5, 4], attrs: { transposeB: true } },
  { a: [4, 3], b: [5, 4], attrs: { transposeA: true, transposeB: true }, bias: 5 },
  { a: [2, 1, 3, 4], b: [6, 4, 5], bias: 5 },
  { a: [6, 4, 3], b: [4, 5], attrs: { transposeA: true }, bias: 5 },
  { a: [4], b: [2, 4, 5] },
  { a: [2, 3, 4], b: [4] },
  { a: [4], b: [4] },
];

describe('matmul backward', () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ device: 'none', route: 'cpu' });
  });
  afterAll(() => runtime.dispose());

  let seed = 1;
  const drawn = (shape: readonly number[]): Tensor => {
    const values = new Float32Array(shape.reduce((n, d) => n * d, 1));
    for (let i = 0; i < values.length; i++) {
      seed = (seed * 48271) % 2147483647;
      values[i] = (seed / 2147483647) * 2 - 1;
    }
    return tensor(values, [...shape], { runtime });
  };
  /** What the tape would hand to backward. */
  const context = (inputs: Tensor[], outputs: Tensor[], grad: Tensor, given: Partial<F.MatmulAttrs>) => {
    const attrs = { ...F.matmul.op.attrs, ...given };
    const specs = inputs.map((t) => t.spec);
    const problem = problemOf(F.matmul.op as never, specs, attrs) as Problem<F.MatmulAttrs>;
    const needs = specs.map(() => true);
    return { grads: [grad], needs, pending: [], inputs, outputs, attrs, problem, F: F as unknown as OpTable };
  };
  const dot = (x: Tensor, y: Tensor): number => {
    const other = y.dataSync();
    return (x.dataSync() as Float32Array).reduce((sum, v, i) => sum + v * other[i]!, 0);
  };

  it.each(cases)('$a $b $attrs', ({ a, b, bias, attrs = {} }) => {
    const inputs = [drawn(a), drawn(b), ...(bias ? [drawn([bias])] : [])];
    const product = (operands: Tensor[]) => F.matmul(operands[0]!, operands[1]!, operands[2], attrs);
    const y = product(inputs);
    const grad = drawn(y.shape);
    const grads = F.matmul.op.backward!(context(inputs, [y], grad, attrs));
    expect(grads.length).toBe(inputs.length);
    for (const [i, input] of inputs.entries()) {
      const step = drawn(input.shape);
      const moved = (op: (x: Tensor, d: Tensor) => Tensor) =>
        dot(product(inputs.map((t, k) => (k === i ? op(t, step) : t))), grad);
      expect(grads[i]!.shape).toEqual(input.shape);
      expect(dot(grads[i] as Tensor, step)).toBeCloseTo((moved(F.add) - moved(F.sub)) / 2, 4);
    }
  });
});
