/** Views: parts of a flat tensor, as optimisers hold parameters, on either side. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { add, mul, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { tensor } from '../src/tensor/tensor.js';
import { viewOf } from '../src/tensor/view.js';
import { sides } from './support/sides.js';

describe.each(sides)('a view on $side', ({ options }) => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });
  const counting = (n: number) => tensor(Float32Array.from({ length: n }, (_, i) => i));

  it('reads its part, as an operand and by itself', () => {
    const flat = counting(256);
    const part = viewOf(flat, 64, [2, 3]);
    expect([...part.dataSync()]).toEqual([64, 65, 66, 67, 68, 69]);
    expect([...add(part, part).dataSync()]).toEqual([128, 130, 132, 134, 136, 138]);
    const inner = viewOf(viewOf(flat, 64, [128]), 64, [2]);
    expect([...mul(inner, 1).dataSync()]).toEqual([128, 129]);
  });

  it('keeps the flat tensor alive, and is freed with it', () => {
    const part = scope(() => {
      const flat = mul(counting(1024), 2);
      return viewOf(flat, 512, [4]);
    });
    expect([...sum(part).dataSync()]).toEqual([2 * (512 + 513 + 514 + 515)]);
    part.dispose();
    expect(runtime.stats().buffers).toBe(1); // the sum
  });

  it('lives through blocks and reused numbers', () => {
    const flat = counting(4096);
    for (let i = 0; i < 60; i++)
      scope(() => {
        const part = viewOf(flat, 64 * i, [64]);
        expect(sum(part).itemSync()).toBe(64 * 64 * i + (63 * 64) / 2);
      });
    expect(runtime.stats().buffers).toBe(1);
  });

  it('refuses what is no part', () => {
    const flat = counting(128);
    expect(() => viewOf(flat, 65, [1])).toThrow(/multiple of 256 bytes/);
    expect(() => viewOf(flat, 64, [65])).toThrow(/no part of/);
    flat.dispose();
    expect(() => viewOf(flat, 0, [1])).toThrow(/was disposed/);
  });
});
