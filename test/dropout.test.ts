/** Dropout's mask: the stream of `uniform`, the same on both sides and in the gradient. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dropout, sum, uniform, valueAndGrad } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { sides } from './support/sides.js';

const state = (...words: number[]) => tensor(new Int32Array(words));
const ones = (n: number) => tensor(new Float32Array(n).fill(1));

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

  it('keeps what the uniform numbers of the same key and counter say', async () => {
    const [seed, offset, n, p] = [2 ** 32 * 5 + 7, 2 ** 32 * 3 + 11, 10001, 0.3];
    const u = await uniform({ shape: [n], seed, offset }).data();
    const y = await dropout(ones(n), state(7, 5, 11, 3), { p }).data();
    expect([...y]).toEqual(Array.from(u, (v) => (v >= p ? Math.fround(1 / (1 - p)) : 0)));
    const kept = y.filter((v) => v !== 0).length / n;
    expect(Math.abs(kept - (1 - p))).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / n));
  });

  it('has the mask of the forward pass in its gradient', async () => {
    const x = tensor(Float32Array.from({ length: 300 }, (_, i) => i + 1));
    const s = state(1, 2, 3, 4);
    const { grads } = valueAndGrad((t: Tensor) => sum(dropout(t, s, { p: 0.4 })))(x);
    const y = await dropout(x, s, { p: 0.4 }).data();
    expect([...(await grads[0]!.data())]).toEqual(Array.from(y, (v) => (v === 0 ? 0 : Math.fround(1 / 0.6))));
  });

  it('another counter is another mask, and p = 0 none', async () => {
    const [a, b] = await Promise.all([
      dropout(ones(64), state(1, 0, 0, 0)).data(),
      dropout(ones(64), state(1, 0, 1, 0)).data(),
    ]);
    expect([...a]).not.toEqual([...b]);
    expect([...(await dropout(ones(64), state(1, 0, 0, 0), { p: 0 }).data())]).toEqual(new Array(64).fill(1));
  });

  it('drops infinities and NaN like everything else', async () => {
    const x = tensor(new Float32Array(64).map((_, i) => (i % 2 ? Number.NaN : Number.POSITIVE_INFINITY)));
    const s = state(1, 2, 3, 4);
    const mask = await dropout(ones(64), s).data();
    const y = await dropout(x, s).data();
    y.forEach((v, i) => {
      expect(Number.isFinite(v)).toBe(mask[i] === 0);
    });
  });
});
