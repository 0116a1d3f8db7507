/** Tensor trains: TT-SVD against an independent one in Float64, and matrices of cores. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  balancedModes,
  bondLimits,
  coreDeviation,
  coreShape,
  defaultModes,
  trainShape,
  trainSize,
  ttFull,
  ttMatrix,
  ttMatrixSvd,
  ttSvd,
} from '../src/geometry/tensor-train.js';
import { gradcheck, mul, normal, sub, sum } from '../src/index.js';
import { make, svd as oracle } from '../src/ops/linalg.reference.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sides } from './support/sides.js';

const norm = (x: Tensor): number => Math.sqrt(sum(mul(x, x)).itemSync());
const relative = (got: Tensor, x: Tensor): number => norm(sub(got, x)) / norm(x);

/** |x - train| / |x| of the sequential SVD that keeps the best `rank` at every bond, in Float64 throughout. */
function optimalError(values: readonly number[], shape: readonly number[], rank: number): number {
  let [rest, left, dropped] = [[...values], 1, 0];
  for (const n of shape.slice(0, -1)) {
    const columns = rest.length / (left * n);
    const rows = left * n;
    const { s, v } = oracle(
      make(rows, columns, (i, j) => rest[i * columns + j]!),
      rows,
      columns,
    );
    const kept = Math.min(rank, s.length);
    dropped += s.slice(kept).reduce((e, x) => e + x * x, 0);
    rest = s.slice(0, kept).flatMap((x, i) => Array.from({ length: columns }, (_, j) => x * v[j]![i]!));
    left = kept;
  }
  return Math.sqrt(dropped / values.reduce((e, x) => e + x * x, 0));
}

describe.each(sides)('on $side', ({ options }) => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterAll(() => {
    expect(runtime.stats().buffers).toBe(0);
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each([[[4, 4, 4, 4]], [[3, 5, 2, 7]], [[6, 9]], [[11]], [[1, 4, 1, 3]]])(
    'TT-SVD of %j is exact at full rank',
    (shape) =>
      scope(() => {
        const x = normal({ shape, seed: 5 });
        const cores = ttSvd(x);
        expect(relative(ttFull(cores), x)).toBeLessThan(1e-6);
        expect(cores.map((c) => c.shape[1])).toEqual(shape);
      }),
  );

  it('at rank 4 a 4⁴ Gaussian is as near as the optimal sequential SVD', () =>
    scope(() => {
      for (const seed of [1, 2, 3]) {
        const x = normal({ shape: [4, 4, 4, 4], seed });
        const cores = ttSvd(x, { rank: 4 });
        expect(cores.map((c) => c.shape)).toEqual([[1, 4, 4], [4, 4, 4], [4, 4, 4], [4, 4, 1]]); // biome-ignore format: one list
        const error = relative(ttFull(cores), x);
        expect(error).toBeCloseTo(optimalError([...x.dataSync()], x.shape, 4), 5);
        expect(relative(ttFull(ttSvd(x, { rank: 64 })), x)).toBeLessThan(1e-6); // wider than any bond
        expect(error).toBeLessThan(0.72); // a chain whose first bond is 1 by mistake leaves about 0.8
      }
    }));

  it('finds the ranks of a train, and keeps those asked for', () =>
    scope(() => {
      const ranks = [1, 2, 3, 1];
      const given = [5, 6, 4].map((n, k) => normal({ shape: [ranks[k]!, n, ranks[k + 1]!], seed: 9 + k }));
      const x = ttFull(given);
      const found = ttSvd(x);
      expect(found.map((c) => c.shape[2])).toEqual([2, 3, 1]);
      expect(relative(ttFull(found), x)).toBeLessThan(1e-6);
      expect(ttSvd(x, { tolerance: 0 }).map((c) => c.shape[2])).toEqual([5, 4, 1]);
      expect(ttSvd(mul(x, 0)).map((c) => c.shape[2])).toEqual([1, 1, 1]);
    }));

  it('a matrix of cores has entry (i, j) = Π G_k[i_k, j_k]', () =>
    scope(() => {
      const shape = trainShape([2, 3, 2], [3, 1, 4], 3);
      const cores = [0, 1, 2].map((k) => normal({ shape: coreShape(shape, k), seed: 20 + k }));
      const values = cores.map((c) => [...c.dataSync()]);
      const w = ttMatrix(cores);
      expect(w.shape).toEqual([12, 12]);
      const got = w.dataSync();
      for (let i = 0; i < 12; i++)
        for (let j = 0; j < 12; j++) {
          const rows = [Math.floor(i / 6), Math.floor(i / 2) % 3, i % 2];
          const columns = [Math.floor(j / 4), 0, j % 4];
          let row = [1];
          values.forEach((g, k) => {
            const [r, n, m, next] = coreShape(shape, k);
            row = Array.from({ length: next }, (_, b) =>
              row.reduce((s, v, a) => s + v * g[((a * n + rows[k]!) * m + columns[k]!) * next + b]!, 0),
            );
            expect(g).toHaveLength(r * n * m * next);
          });
          expect(got[i * 12 + j]).toBeCloseTo(row[0]!, 5);
        }
    }));

  it('gradients flow to the cores', () =>
    scope(() => {
      const shape = trainShape([2, 3], [3, 2], 4);
      const cores = [0, 1].map((k) => normal({ shape: coreShape(shape, k), seed: 30 + k }));
      expect(gradcheck((...g) => ttMatrix(g), cores).worst).toBeLessThan(1e-6);
    }));

  it('TT-SVD of a matrix: exact where the ranks allow, of the shape asked for, its cores alike in size', () =>
    scope(() => {
      const w = normal({ shape: [24, 16], seed: 3, std: 0.1 });
      const full = trainShape([4, 6], [4, 4], 24);
      expect(full.ranks).toEqual([1, 16, 1]);
      const cores = ttMatrixSvd(w, full);
      expect(relative(ttMatrix(cores), w)).toBeLessThan(1e-6);
      const [a, b] = cores.map((c) => norm(c) / Math.sqrt(c.size)) as [number, number];
      expect(a / b).toBeCloseTo(1, 4);
      const low = trainShape([2, 3, 4], [4, 2, 2], 5);
      const few = ttMatrixSvd(mul(w, 0), low); // of rank 0, and yet of the shape's ranks
      expect(few.map((c) => c.shape)).toEqual([0, 1, 2].map((k) => coreShape(low, k)));
    }));

  it('random cores make a matrix of the variance asked for', () =>
    scope(() => {
      const shape = trainShape([8, 8, 8], [8, 8, 8], 16);
      const std = coreDeviation(shape, 1 / 512);
      const w = ttMatrix([0, 1, 2].map((k) => normal({ shape: coreShape(shape, k), seed: 40 + k, std })));
      expect((norm(w) ** 2 / w.size) * 512).toBeGreaterThan(0.85);
      expect((norm(w) ** 2 / w.size) * 512).toBeLessThan(1.15);
    }));

  it('refuses what is no train', () =>
    scope(async () => {
      const x = normal({ shape: [2, 3], seed: 1 });
      const cores = ttSvd(x);
      const wrong: [string, () => unknown][] = [
        ['ATTN_SHAPE', () => ttSvd(tensor(1, []))],
        ['ATTN_SHAPE', () => ttSvd(normal({ shape: [2, 0] }))],
        ['ATTN_ARGUMENT', () => ttSvd(x, { rank: 0 })],
        ['ATTN_ARGUMENT', () => ttSvd(x, { rank: 1.5 })],
        ['ATTN_ARGUMENT', () => ttSvd(x, { tolerance: 1 })],
        ['ATTN_SHAPE', () => ttFull([])],
        ['ATTN_SHAPE', () => ttFull([cores[1]!, cores[0]!])],
        ['ATTN_SHAPE', () => ttMatrix(cores)],
        ['ATTN_SHAPE', () => ttMatrixSvd(x, trainShape([2], [2], 1))],
      ];
      for (const [code, fn] of wrong) expectTyped(await failureOf(fn), { code });
    }));
});

describe('shapes', () => {
  it.each([
    [64, [8, 8]],
    [128, [8, 16]],
    [256, [16, 16]],
    [512, [8, 8, 8]],
    [768, [8, 8, 12]],
    [1024, [8, 8, 16]],
    [7, [1, 7]],
    [31, [1, 31]],
    [65536, [16, 16, 16, 16]],
  ])('%i is split into %j', (n, modes) => expect(defaultModes(n)).toEqual(modes));

  it('modes are as alike as they can be', () => {
    expect(balancedModes(36, 2)).toEqual([6, 6]);
    expect(balancedModes(96, 3)).toEqual([4, 4, 6]);
    expect(balancedModes(13, 3)).toEqual([1, 1, 13]);
    expect(bondLimits([2, 3, 2], [3, 1, 4])).toEqual([6, 8]);
  });

  // Parameters as a part of d²: attention-math, the table of ratios.
  it.each([
    [64, [0.125, 0.25, 0.5, 1]],
    [256, [0.03125, 0.0625, 0.125, 0.25]],
    [512, [0.006, 0.02, 0.07, 0.266]],
    [768, [0.003, 0.01, 0.033, 0.122]],
  ])('a train of %i by itself at ranks 4, 8, 16, 32 has %j of its parameters', (n, ratios) => {
    const modes = defaultModes(n);
    const got = [4, 8, 16, 32].map((rank) => trainSize(trainShape(modes, modes, rank)) / (n * n));
    for (const [i, ratio] of ratios.entries()) expect(Math.abs(got[i]! - ratio)).toBeLessThan(5.1e-4);
  });
});
