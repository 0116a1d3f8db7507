/** Training fed what it should not be: a typed error or the defined result, and a runtime that goes on. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  AdamW,
  type AttnError,
  attention,
  crossEntropy,
  detectAnomaly,
  GPT,
  manualSeed,
  mul,
  scope,
  sum,
  type Tensor,
  tensor,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { sides } from './support/sides.js';

describe.each(sides)('on $side', ({ side, options }) => {
  let runtime: Runtime;
  let model: GPT;
  let optimizer: AdamW;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
    manualSeed(1);
    model = new GPT({ vocab: 11, layers: 1, dim: 16, heads: 2, length: 8 });
    optimizer = new AdamW(model.parameters(), { lr: 1e-2, maxNorm: 1 });
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  const ints = (rows: number[][], shape?: number[]) => tensor(rows, shape, { dtype: 'int32' });
  const good = [
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ];
  const failure = async (fn: () => unknown): Promise<AttnError> => {
    try {
      await fn();
    } catch (error) {
      return error as AttnError;
    }
    throw new Error('nothing was thrown');
  };
  const step = (ids: Tensor, labels: Tensor) =>
    scope(() => {
      const loss = model.loss(ids, labels);
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss.item();
    });

  it('a label out of range fails the step that had it, and no other', async () => {
    const before = await step(ints(good), ints(good));
    const weights = await model.tokens.weight.data();
    const error = await failure(() => step(ints(good), ints([[1, 2, 3, 11], good[1]!])));
    expect(error.code).toBe('ATTN_INDEX');
    expect(error.message).toMatch(/11/);
    await runtime.sync().catch(() => {});
    // The device tells of an index when it is read; what runs on the CPU stops with it.
    if (side === 'cpu') expect(await model.tokens.weight.data()).toEqual(weights);
    const after = await step(ints(good), ints(good));
    expect(after).toBeLessThan(before);
    expect(Number.isFinite(after)).toBe(true);
  });

  it('a token out of range too', async () => {
    expect((await failure(() => step(ints([[1, -1, 2, 3]]), ints([[1, 2, 3, 4]])))).code).toBe('ATTN_INDEX');
  });

  it('one token, and no sequence at all, are batches', async () => {
    expect(Number.isFinite(await step(ints([[1]]), ints([[2]])))).toBe(true);
    expect(await step(ints([], [0, 4]), ints([], [0, 4]))).toBe(0);
    expect(Number.isFinite(await step(ints(good), ints(good)))).toBe(true);
  });

  it('labels that are all ignored give no loss and no gradient', async () => {
    const logits = tensor([[1, 2, 3]]);
    logits.requiresGrad = true;
    const loss = crossEntropy(logits, tensor(Int32Array.of(-100)));
    loss.backward();
    expect(await loss.item()).toBe(0);
    expect([...(await logits.grad!.data())]).toEqual([0, 0, 0]);
  });

  it('a mask of a wrong shape is refused', async () => {
    const q = tensor(new Float32Array(2 * 4 * 2 * 8), [2, 4, 2, 8]);
    const mask = tensor(new Uint8Array(3 * 4), [3, 1, 1, 4], { dtype: 'bool' });
    expect((await failure(() => attention(q, q, q, mask))).code).toBe('ATTN_SHAPE');
  });

  it('a row that sees nothing is zero, and so is its gradient', async () => {
    const q = tensor(
      Float32Array.from({ length: 64 }, (_, i) => Math.sin(i)),
      [1, 4, 1, 16],
    );
    q.requiresGrad = true;
    const mask = tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 4, 4], { dtype: 'bool' });
    const y = detectAnomaly(() => attention(q, q.detach(), q.detach(), mask));
    detectAnomaly(() => sum(mul(y, y)).backward()); // its log-sum-exp, which nobody sees, is -Infinity
    expect([...(await y.data())].slice(0, 16)).toEqual(new Array(16).fill(0));
    const gradient = [...(await q.grad!.data())];
    expect(gradient.slice(0, 16)).toEqual(new Array(16).fill(0));
    expect(gradient.slice(16).some((v) => v !== 0)).toBe(true);
    expect(gradient.every(Number.isFinite)).toBe(true);
  });

  it('a weight that is not finite is skipped over, counted, and found by detectAnomaly', async () => {
    const bad = model.stateDict();
    const table = bad['tokens.weight']!;
    const values = (await table.data()) as Float32Array;
    values[3 * 16] = Number.NaN; // of token 3
    model.loadStateDict({ ...bad, 'tokens.weight': tensor(values, table.shape) });
    const before = await model.tokens.weight.data();
    expect(await step(ints(good), ints(good))).toBeNaN();
    expect(await optimizer.skippedSteps()).toBe(1);
    expect(await model.tokens.weight.data()).toEqual(before);
    const error = await failure(() => detectAnomaly(() => step(ints(good), ints(good)), { step: 3 }));
    expect(error.code).toBe('ATTN_GRAD');
    expect(error.message).toMatch(/embedding\(\): output .* at step 3/);
  });

  it('a disposed model is refused by name', async () => {
    model.dispose();
    const error = await failure(() => step(ints(good), ints(good)));
    expect(error.code).toBe('ATTN_DISPOSED');
  });
});
