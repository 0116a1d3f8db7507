/** What layers remember: rows of one dtype, written in place. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { autocast, FlashAttention, noGrad, RowCache } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sequence } from './support/layers.js';
import { cpu } from './support/sides.js';

describe('caches', () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it('are of one dtype until they begin anew', async () => {
    const layer = new FlashAttention({ dim: 8, heads: 2 });
    const x = sequence(1, 3, 8);
    const wanted = noGrad(() => layer.forward(x).dataSync());
    using cache = layer.newCache();
    const half = () => autocast('bfloat16', () => noGrad(() => layer.forward(x, { cache })));
    const whole = () => noGrad(() => layer.forward(x, { cache }).dataSync());
    half().dispose();
    expectTyped(await failureOf(whole), { code: 'ATTN_DTYPE', says: /k is float32.*before are bfloat16/ });
    expect(cache.length).toBe(3);
    half().dispose();
    expect(cache.length).toBe(6);
    cache.reset();
    expect(whole()).toEqual(wanted);
    expectTyped(await failureOf(half), { code: 'ATTN_DTYPE', says: /k is bfloat16/ });
    layer.dispose();
  });

  it('grow without losing a row, and leave no tensors', async () => {
    const tensors = runtime.tensors;
    const cache = new RowCache(2, { k: [3] });
    const rows: number[] = [];
    for (let t = 0; t < 70; t++) {
      const row = tensor(
        Float32Array.from({ length: 6 }, (_, i) => t * 6 + i),
        [2, 1, 3],
      );
      rows.push(t * 6);
      cache.append({ k: row });
      row.dispose();
    }
    expect(cache.capacity).toBe(128);
    const kept = cache.rows('k');
    expect(kept.shape).toEqual([2, 70, 3]);
    const values = await kept.data();
    rows.forEach((first, t) => {
      expect([...values.subarray(t * 3, t * 3 + 3)]).toEqual([first, first + 1, first + 2]);
      expect(values[(70 + t) * 3]).toBe(first + 3);
    });
    kept.dispose();
    cache.dispose();
    expect(runtime.tensors).toBe(tensors);
  });
});
