/** Indices, ids, labels and positions that point outside: told with their place on both sides, after which ops run on. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { crossEntropy, embedding, embeddingBackward, gather, rope, ropeTable } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sides } from './support/sides.js';

const ints = (values: number[], shape: number[] = [values.length]) => tensor(new Int32Array(values), shape);

/** Each op with one bad index, at place 2. */
const calls: [string, (bad: number) => Tensor, size: number][] = [
  ['gather', (bad) => gather(tensor([1, 2, 3]), ints([0, 1, bad])), 3],
  ['embedding', (bad) => embedding(tensor([[1], [2]]), ints([0, 1, bad, 0], [2, 2])), 2],
  ['cross_entropy', (bad) => crossEntropy(tensor(new Float32Array(12), [3, 4]), ints([0, 3, bad])), 4],
  [
    'rope',
    (bad) =>
      rope(tensor(new Float32Array(12), [1, 3, 1, 4]), ropeTable({ length: 5, dim: 4 }), ints([4, 0, bad])),
    5,
  ],
];

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

  it.each(calls)('%s tells which and where', async (op, call, size) => {
    for (const bad of [size, -1, 2 ** 31 - 1, -(2 ** 31)]) {
      const error = expectTyped(await failureOf(() => call(bad).data()), { code: 'ATTN_INDEX', op });
      expect(error.message).toMatch(new RegExp(`${bad} at position 2\\b`));
    }
    expect([...(await call(size - 1).data())].every(Number.isFinite)).toBe(true);
  });

  it('the gradient of an embedding leaves out what points outside', async () => {
    const dy = tensor([[1], [2], [4], [8]]);
    const dw = embeddingBackward(dy, ints([0, 2, -1, 0]), { rows: 2 });
    expect([...(await dw.data())]).toEqual([9, 0]);
  });

  it('an ignored label is none that points outside', async () => {
    const loss = crossEntropy(tensor([[0, 0]]), ints([7]), { ignoreIndex: 7 });
    expect(await loss.item()).toBe(0);
  });
});
