import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fixedWindows, movingWindows, permutation } from '../src/data/order.js';
import { expectTyped, failureOf } from './support/errors.js';

const all = (n: number, seed: number, epoch: number) => {
  const at = permutation(n, seed, epoch);
  return Array.from({ length: n }, (_, i) => at(i));
};

describe('permutation', () => {
  it('is a bijection of [0, n) for any n, seed and epoch', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3000 }), fc.maxSafeNat(), fc.nat(), (n, seed, epoch) => {
        const sorted = all(n, seed, epoch).sort((a, b) => a - b);
        expect(sorted).toEqual(Array.from({ length: n }, (_, i) => i));
      }),
      { numRuns: 100 },
    );
  });

  it('depends on seed, epoch and n alone, and on each of them', () => {
    expect(all(100, 1, 0)).toEqual(all(100, 1, 0));
    expect(all(100, 1, 0)).not.toEqual(all(100, 2, 0));
    expect(all(100, 1, 0)).not.toEqual(all(100, 1, 1));
    expect(all(100, 2 ** 32 + 1, 0)).not.toEqual(all(100, 1, 0));
  });

  it('gives every order of four about as often, and every row every place', () => {
    const counts = new Map<string, number>();
    const runs = 24_000;
    for (let seed = 0; seed < runs; seed++) {
      const key = all(4, seed, 3).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const mean = runs / 24;
    const chi = [...counts.values()].reduce((sum, c) => sum + (c - mean) ** 2 / mean, 0);
    expect(counts.size).toBe(24);
    // 23 degrees of freedom: above 58 once in 10,000 draws of a uniform source.
    expect(chi).toBeLessThan(58);
  });

  it('leaves no trace of the order in the sequence', () => {
    const n = 10_007;
    const order = all(n, 5, 1);
    // Means of the place under rank correlation: |ρ| < 4/√n for independent orders.
    const centre = (n - 1) / 2;
    const variance = (n * n - 1) / 12;
    const rho = order.reduce((sum, v, i) => sum + (v - centre) * (i - centre), 0) / (n * variance);
    const lag =
      order.slice(1).reduce((s, v, i) => s + (v - centre) * (order[i]! - centre), 0) / (n * variance);
    expect(Math.abs(rho)).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(lag)).toBeLessThan(4 / Math.sqrt(n));
  });

  it('reaches 2^32 rows and refuses what is outside', async () => {
    const at = permutation(2 ** 32, 1, 1);
    expect(at(2 ** 32 - 1)).toBeLessThan(2 ** 32);
    expectTyped(await failureOf(() => permutation(2 ** 33, 1, 1)), { code: 'ATTN_ARGUMENT' });
    expectTyped(await failureOf(() => at(2 ** 32)), { code: 'ATTN_ARGUMENT' });
    expectTyped(await failureOf(() => permutation(0, 1, 1)(0)), { code: 'ATTN_ARGUMENT' });
  });
});

describe('windows', () => {
  const sizes = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 0, max: 500 }));

  it('lie in the text and their ids do not overlap, in any epoch', () => {
    fc.assert(
      fc.property(sizes, fc.nat(), fc.nat({ max: 100 }), ([length, tokens], seed, epoch) => {
        for (const windows of [fixedWindows(tokens, length), movingWindows(tokens, length, seed)]) {
          const starts = Array.from({ length: windows.count }, (_, i) => windows.start(i, epoch));
          for (const [i, start] of starts.entries()) {
            expect(start).toBeGreaterThanOrEqual(0);
            expect(start + length + 1).toBeLessThanOrEqual(tokens);
            if (i > 0) expect(start - starts[i - 1]!).toBe(length);
          }
        }
        expect(movingWindows(tokens, length, seed).count > 0).toBe(tokens > length);
      }),
    );
  });

  it('begin at another place in each of T epochs', () => {
    const { start } = movingWindows(1000, 16, 7);
    expect(new Set(Array.from({ length: 16 }, (_, epoch) => start(0, epoch))).size).toBe(16);
    expect(start(0, 0)).toBe(start(0, 16));
  });
});
