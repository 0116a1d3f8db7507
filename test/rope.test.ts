/** Rotary positions: what makes them so, on both sides. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rope, ropeTable } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sides } from './support/sides.js';

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

  const [T, D] = [12, 16];
  const sine = (n: number, k: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(k * i * i + i));
  /** One vector at every position. */
  const repeated = (k: number) =>
    tensor(
      new Float32Array(T * D).map((_, i) => sine(D, k)[i % D]!),
      [1, T, 1, D],
    );
  const close = async (a: Tensor, b: Tensor) => {
    const [x, y] = await Promise.all([a.data(), b.data()]);
    x.forEach((v, i) => {
      expect(v).toBeCloseTo(y[i]!, 5);
    });
  };

  it.each([true, false])('scores depend on distance alone (interleaved %s)', async (interleaved) => {
    const table = ropeTable({ length: T, dim: D });
    const [q, k] = await Promise.all(
      [0.3, 0.7].map((s) => rope(repeated(s), table, undefined, { interleaved }).data()),
    );
    const score = (i: number, j: number) =>
      Array.from({ length: D }, (_, c) => q![i * D + c]! * k![j * D + c]!).reduce((a, b) => a + b, 0);
    for (let i = 3; i < T; i++) expect(score(i, i - 3)).toBeCloseTo(score(3, 0), 4);
    expect(score(7, 0)).not.toBeCloseTo(score(3, 0), 2);
  });

  it('turns back by the inverse', async () => {
    const x = tensor(sine(2 * T * 3 * D, 0.1), [2, T, 3, D]);
    const table = ropeTable({ length: T, dim: D - 4, theta: 500 });
    for (const attrs of [{}, { interleaved: true }, { heads: 2 }])
      await close(rope(rope(x, table, undefined, attrs), table, undefined, { ...attrs, inverse: true }), x);
  });

  it('positions name rows of the table, and offsets continue a sequence', async () => {
    const table = ropeTable({ length: T, dim: D });
    const whole = await rope(repeated(0.3), table).data();
    const last = rope(tensor(sine(D, 0.3), [1, 1, 1, D]), table, tensor(new Int32Array([T - 1])));
    await close(last, tensor(whole.slice((T - 1) * D) as Float32Array, [1, 1, 1, D]));
  });

  it('a scale stretches positions', async () => {
    const half = await ropeTable({ length: 9, dim: 4, scale: 0.5 }).data();
    const full = await ropeTable({ length: 5, dim: 4 }).data();
    expect([...half.slice(8 * 4)]).toEqual([...full.slice(4 * 4)]);
  });

  it.each([
    { length: -1, dim: 4 },
    { length: 2, dim: 3 },
    { length: 2.5, dim: 4 },
    { length: 2, dim: 4, theta: 0 },
    { length: 2, dim: 4, scale: Number.NaN },
  ])('no table from %j', async (wrong) => {
    expectTyped(await failureOf(() => ropeTable(wrong)), { code: 'ATTN_ARGUMENT', op: 'ropeTable' });
  });
});
