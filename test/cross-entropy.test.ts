/** Cross-entropy at its edges, on both sides. What it computes is compared with its reference by the conformance walk. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CrossEntropyAttrs,
  crossEntropy,
  exp,
  gather,
  log,
  mean,
  mul,
  sum,
  valueAndGrad,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { sides } from './support/sides.js';

const ints = (values: number[]) => tensor(new Int32Array(values));

describe.each(sides)('$side', ({ options }) => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  const values = Float32Array.from({ length: 15 }, (_, i) => Math.sin(i * i));
  const logits = () => tensor(values, [3, 5]);
  const lossAndGradient = async (...args: [labels: Tensor, attrs?: Partial<CrossEntropyAttrs>]) => {
    const { value, grads } = valueAndGrad((x: Tensor) => crossEntropy(x, ...args))(logits());
    return { loss: await value.item(), dx: [...(await grads[0]!.data())] };
  };

  it('is what softmax, logarithm and choice give, value and gradient', async () => {
    const labels = ints([4, 0, 2]);
    const composed = valueAndGrad((x: Tensor) => {
      const lse = log(sum(exp(x), { axis: 1, keepDims: true }));
      return mean(lse.sub(gather(x, labels.reshape([3, 1]), { axis: 1 })));
    });
    const { value, grads } = composed(logits());
    const fused = await lossAndGradient(labels);
    expect(fused.loss).toBeCloseTo(await value.item(), 5);
    const expected = await grads[0]!.data();
    fused.dx.forEach((v, i) => {
      expect(v).toBeCloseTo(expected[i]!, 5);
    });
  });

  it('rows that are ignored change neither the mean nor have a gradient', async () => {
    const all = await lossAndGradient(ints([4, -100, 2]));
    const [first, third] = await Promise.all([
      crossEntropy(logits(), ints([4, -100, -100])).item(),
      crossEntropy(logits(), ints([-100, -100, 2])).item(),
    ]);
    expect(all.loss).toBeCloseTo((first + third) / 2, 5);
    expect(all.dx.slice(5, 10)).toEqual([0, 0, 0, 0, 0]);
    expect(all.dx.some((v) => v !== 0)).toBe(true);
  });

  it('gives 0 and a gradient of 0 where all rows are ignored', async () => {
    for (const reduction of ['mean', 'sum'] as const) {
      const { loss, dx } = await lossAndGradient(ints([-100, -100, -100]), { reduction });
      expect([loss, ...dx]).toEqual(new Array(16).fill(0));
    }
  });

  it('weighs each row by the gradient of its own loss', async () => {
    const { grads } = valueAndGrad((x: Tensor) =>
      sum(mul(crossEntropy(x, ints([4, 0, 2]), { reduction: 'none' }), tensor([0, 1, 0]))),
    )(logits());
    const got = [...(await grads[0]!.data())];
    expect(got.map((v) => v !== 0)).toEqual(Array.from({ length: 15 }, (_, i) => i >= 5 && i < 10));
    expect(got.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 6);
  });

  it.each([
    ['a NaN', [Number.NaN, 0, 0], 1, Number.NaN],
    ['an infinite logit', [Number.POSITIVE_INFINITY, 0, 0], 1, Number.NaN],
    ['a label of probability 0', [0, Number.NEGATIVE_INFINITY, 0], 1, Number.POSITIVE_INFINITY],
    ['impossible classes', [Number.NEGATIVE_INFINITY, 0, Number.NEGATIVE_INFINITY], 1, 0],
    ['a row of -inf', new Array(3).fill(Number.NEGATIVE_INFINITY), 1, Number.NaN],
    ['large logits', [3e38, -3e38, 3e38], 0, Math.log(2)],
  ])('%s', async (_, row, label, want) => {
    const loss = await crossEntropy(tensor([row as number[]]), ints([label])).item();
    if (Number.isNaN(want)) expect(loss).toBeNaN();
    else expect(loss).toBeCloseTo(want, 5);
  });

  it('repeats to the bit, over many rows', async () => {
    const n = 5000;
    const x = tensor(
      Float32Array.from({ length: 3 * n }, (_, i) => 9 * Math.sin(i * i)),
      [n, 3],
    );
    const y = ints(Array.from({ length: n }, (_, i) => i % 3));
    const first = await crossEntropy(x, y).item();
    expect(await crossEntropy(x, y).item()).toBe(first);
  });
});
