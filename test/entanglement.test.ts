/** Entropies of attention maps: the figures that theory gives, exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  causalBaseline,
  computeEntanglementEntropy,
  effectiveRank,
  mpsProfile,
  operatorEntropy,
  primeModes,
  regionsOf,
  rowEntropies,
} from '../src/geometry/entanglement.js';
import { normal, permute, qr, scope, softmax, type Tensor, tensor } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';

const matrix = (rows: number, columns: number, at: (i: number, j: number) => number) =>
  tensor(
    Float32Array.from({ length: rows * columns }, (_, e) => at(Math.floor(e / columns), e % columns)),
    [rows, columns],
  );
const identity = (n: number) => matrix(n, n, (i, j) => Number(i === j));
const uniform = (n: number) => matrix(n, n, () => 1 / n);
const uniformCausal = (n: number) => matrix(n, n, (i, j) => (j <= i ? 1 / (i + 1) : 0));

describe('entropies of maps', () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterAll(() => {
    expect(runtime.stats().buffers).toBe(0);
    useRuntime(undefined);
    runtime.dispose();
  });

  it('the identity has ln T, a uniform map 0, a uniform causal one its baseline', () =>
    scope(async () => {
      for (const T of [1, 2, 8, 64]) {
        const [one] = await operatorEntropy(identity(T));
        expect(one).toBeCloseTo(Math.log(T), 12);
        expect(effectiveRank(one!)).toBeCloseTo(T, 10);
        expect((await operatorEntropy(uniform(T)))[0]).toBeCloseTo(0, 9);
      }
      for (const [T, expected] of [
        [8, 0.961],
        [64, 1.527],
        [256, 1.788],
      ] as const) {
        expect((await operatorEntropy(uniformCausal(T)))[0]).toBeCloseTo(expected, 3);
        expect((await causalBaseline(T)).operator).toBeCloseTo(expected, 3);
      }
    }));

  it('rows have their Shannon entropy, and a uniform causal map that of its lengths', () =>
    scope(async () => {
      const rows = await rowEntropies(uniformCausal(16));
      rows.forEach((h, i) => {
        expect(h).toBeCloseTo(Math.log(i + 1), 6);
      });
      expect((await causalBaseline(16)).row).toBeCloseTo(rows.reduce((a, b) => a + b, 0) / 16, 6);
      expect((await causalBaseline(512)).row).toBeCloseTo(5.2462, 4);
      expect([...(await rowEntropies(matrix(2, 3, (i) => i / 3)))]).toEqual([
        0,
        expect.closeTo(Math.log(3), 6),
      ]);
    }));

  it('is bounded by ln T, and the same for the transposed, turned and scaled map', () =>
    scope(async () => {
      const A = softmax(normal({ shape: [3, 2, 12, 12], seed: 5, std: 3 }));
      const S = await operatorEntropy(A);
      expect(S.length).toBe(6);
      for (const s of S) {
        expect(s).toBeGreaterThan(0);
        expect(s).toBeLessThanOrEqual(Math.log(12) + 1e-12);
      }
      const near = async (B: Tensor) =>
        (await operatorEntropy(B)).forEach((s, i) => {
          expect(s).toBeCloseTo(S[i]!, 5);
        });
      await near(permute(A, { axes: [0, 1, 3, 2] }));
      await near(A.mul(17));
      const [q] = qr(normal({ shape: [12, 12], seed: 6 }));
      await near(q.matmul(A));
    }));

  it('regions of the identity have ln |R|, and share what their union tells', () =>
    scope(async () => {
      const { regions, entropy, mutual, operator, lead } = await computeEntanglementEntropy(identity(10), 3);
      expect(regions).toEqual([
        [0, 3],
        [3, 6],
        [6, 10],
      ]);
      expect(lead).toEqual([]);
      expect(operator[0]).toBeCloseTo(Math.log(10), 12);
      for (const [i, size] of [3, 3, 4].entries()) expect(entropy[i]).toBeCloseTo(Math.log(size), 12);
      expect(mutual[0 * 3 + 2]).toBeCloseTo(Math.log(3) + Math.log(4) - Math.log(7), 12);
      expect(mutual[2 * 3 + 0]).toBe(mutual[0 * 3 + 2]);
      expect(mutual[1 * 3 + 1]).toBe(entropy[1]);
    }));

  it('regions of a uniform map are pure, whatever the number, and maps come in order', () =>
    scope(async () => {
      for (const n of [1, 2, 5, 8]) {
        const { entropy, mutual } = await computeEntanglementEntropy(uniform(8), n);
        expect(entropy.length).toBe(n);
        for (const s of [...entropy, ...mutual]) expect(s).toBeCloseTo(0, 9);
      }
      const both = tensor(
        Float32Array.from([...(await identity(4).data()), ...(await uniform(4).data())]),
        [2, 1, 4, 4],
      );
      const { entropy, operator, lead } = await computeEntanglementEntropy(both, 2);
      expect(lead).toEqual([2, 1]);
      expect([...operator]).toEqual([Math.log(4), 0].map((s) => expect.closeTo(s, 9)));
      expect([...entropy]).toEqual([Math.log(2), Math.log(2), 0, 0].map((s) => expect.closeTo(s, 9)));
      // A density matrix by hand: ρ = diag(1, 4) / 5.
      const by = await computeEntanglementEntropy(
        matrix(2, 2, (i, j) => (i === j ? i + 1 : 0)),
        1,
      );
      expect(by.entropy[0]).toBeCloseTo(-0.2 * Math.log(0.2) - 0.8 * Math.log(0.8), 9);
    }));

  it('the bond between rows and columns has the operator entropy; ends are bounded by their modes', () =>
    scope(async () => {
      for (const [T, modes] of [
        [8, 'binary'],
        [12, 'prime'],
      ] as const) {
        const A = softmax(normal({ shape: [2, T, T], seed: 9, std: 2 }));
        const profile = await mpsProfile(A, { modes });
        const bonds = profile.bound.length;
        expect(profile.modes).toEqual([...primeModes(T), ...primeModes(T)]);
        expect(profile.entropy.length).toBe(2 * bonds);
        const S = await operatorEntropy(A);
        const middle = primeModes(T).length - 1;
        S.forEach((s, m) => {
          expect(profile.entropy[m * bonds + middle]).toBeCloseTo(s, 9);
        });
        profile.entropy.forEach((s, b) => {
          expect(s).toBeLessThanOrEqual(profile.bound[b % bonds]! + 1e-9);
        });
      }
      // The identity is a chain of Bell pairs between bits of i and of j: ln 2 more at each bond up to the middle.
      const bell = await mpsProfile(identity(8), { modes: 'binary' });
      [1, 2, 3, 2, 1].forEach((k, b) => {
        expect(bell.entropy[b]).toBeCloseTo(k * Math.LN2, 9);
      });
      for (const s of (await mpsProfile(uniform(8), { modes: 'binary' })).entropy)
        expect(s).toBeCloseTo(0, 9);
      expect((await mpsProfile(identity(1))).entropy.length).toBe(0);
    }));

  it('halves are read, and gradients do not flow', () =>
    scope(async () => {
      expect((await operatorEntropy(identity(4).cast({ dtype: 'bfloat16' })))[0]).toBeCloseTo(
        Math.log(4),
        12,
      );
      expect((await operatorEntropy(matrix(3, 3, () => 0)))[0]).toBe(0);
    }));

  it('refuses what is no map', () =>
    scope(async () => {
      const nan = matrix(2, 2, (i) => (i === 0 ? Number.NaN : 1));
      for (const [code, call] of [
        ['ATTN_ARGUMENT', () => operatorEntropy(nan)],
        ['ATTN_ARGUMENT', () => computeEntanglementEntropy(nan, 1)],
        ['ATTN_ARGUMENT', () => mpsProfile(nan)],
        ['ATTN_ARGUMENT', () => operatorEntropy([[1]] as unknown as Tensor)],
        [
          'ATTN_SHAPE',
          () =>
            computeEntanglementEntropy(
              matrix(2, 3, () => 1),
              1,
            ),
        ],
        ['ATTN_SHAPE', () => computeEntanglementEntropy(tensor([1, 2]), 1)],
        ['ATTN_SHAPE', () => operatorEntropy(tensor(new Float32Array(0), [0, 0]))],
        ['ATTN_SHAPE', () => mpsProfile(identity(6), { modes: 'binary' })],
        ['ATTN_ARGUMENT', () => mpsProfile(identity(6), { modes: 'ternary' as 'binary' })],
        ['ATTN_ARGUMENT', () => computeEntanglementEntropy(identity(4), 0)],
        ['ATTN_ARGUMENT', () => computeEntanglementEntropy(identity(4), 5)],
        ['ATTN_ARGUMENT', () => computeEntanglementEntropy(identity(4), 1.5)],
        ['ATTN_ARGUMENT', () => rowEntropies(matrix(2, 2, () => -1))],
        ['ATTN_ARGUMENT', () => causalBaseline(0)],
        ['ATTN_ARGUMENT', () => regionsOf(3, 4)],
      ] as const)
        expectTyped(await failureOf(call), { code });
    }));
});
