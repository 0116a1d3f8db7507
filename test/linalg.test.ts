/** What decompositions owe beyond their references: identities, signs, degenerate matrices, and data they refuse. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  eigh,
  eighBackward,
  expm,
  gradcheck,
  matmul,
  mul,
  normal,
  permute,
  qr,
  qrBackward,
  sub,
  svd,
  svdBackward,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sides } from './support/sides.js';

const transpose = (x: Tensor) => permute(x, { axes: [1, 0] });
const worst = async (x: Tensor) => Math.max(0, ...(await x.data()).map(Math.abs));
const identity = (n: number) =>
  tensor(
    Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    [n, n],
  );
/** How far the columns of q are from orthonormal. */
const skewness = (q: Tensor) => worst(sub(matmul(transpose(q), q), identity(q.shape[1]!)));

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

  const size = fc.integer({ min: 1, max: 24 });
  const runs = { seed: 3, numRuns: 25 };

  it('the factors of svd and qr multiply to the matrix, and have orthonormal columns', () =>
    fc.assert(
      fc.asyncProperty(size, size, fc.nat(1000), (m, n, seed) =>
        scope(async () => {
          const x = normal({ shape: [m, n], seed });
          const [u, s, vt] = svd(x);
          expect(await worst(sub(matmul(mul(u, s), vt), x))).toBeLessThan(1e-5);
          expect(await skewness(u)).toBeLessThan(1e-5);
          expect(await skewness(transpose(vt))).toBeLessThan(1e-5);
          const sorted = [...(await s.data())];
          expect(sorted).toEqual([...sorted].sort((a, b) => b - a));
          const [q, r] = qr(x);
          expect(await worst(sub(matmul(q, r), x))).toBeLessThan(1e-5);
          expect(await skewness(q)).toBeLessThan(1e-5);
          const rows = (await r.array()) as number[][];
          rows.forEach((row, i) => {
            expect(row.slice(0, i).every((v) => v === 0)).toBe(true);
            expect(row[i] ?? 0).toBeGreaterThanOrEqual(0);
          });
        }),
      ),
      runs,
    ));

  it('eigenvectors of a symmetric matrix diagonalise it, and its exponential is that of its values', () =>
    fc.assert(
      fc.asyncProperty(size, fc.nat(1000), (n, seed) =>
        scope(async () => {
          const a = normal({ shape: [n, n], seed, std: 0.2 });
          const x = matmul(a, transpose(a));
          const [values, vectors] = eigh(x);
          expect(await skewness(vectors)).toBeLessThan(1e-5);
          expect(await worst(sub(matmul(mul(vectors, values), transpose(vectors)), x))).toBeLessThan(1e-5);
          const grown = matmul(mul(vectors, values.exp()), transpose(vectors));
          expect((await worst(sub(grown, expm(x)))) / (await worst(grown))).toBeLessThan(1e-5);
        }),
      ),
      runs,
    ));

  it('the exponential of a turn by an angle turns by it', () =>
    scope(async () => {
      const [c, s] = [Math.cos(7), Math.sin(7)].map(Math.fround) as [number, number];
      const got = [
        ...(await expm(
          tensor([
            [0, -7],
            [7, 0],
          ]),
        ).data()),
      ];
      for (const [i, want] of [c, -s, s, c].entries()) expect(got[i]).toBeCloseTo(want, 6);
    }));

  it('decomposes what has equal values, or none but 0', () =>
    scope(async () => {
      const [values, vectors] = eigh(identity(4));
      expect([...(await values.data())]).toEqual([1, 1, 1, 1]);
      expect(await skewness(vectors)).toBeLessThan(1e-6);
      const [u, s] = svd(tensor(new Float32Array(12), [4, 3]));
      expect([...(await s.data())]).toEqual([0, 0, 0]);
      expect(await skewness(u)).toBeLessThan(1e-6);
      const [q, r] = qr(tensor(new Float32Array(12), [4, 3]));
      expect(await worst(r)).toBe(0);
      expect(await skewness(q)).toBeLessThan(1e-6);
      expect([...(await expm(tensor(new Float32Array(4), [2, 2])).data())]).toEqual([1, 0, 0, 1]);
    }));

  it('gradients flow through all results, or some, and on into what made the matrix', () =>
    scope(() => {
      const x = normal({ shape: [2, 4, 3], seed: 9 });
      const gram = (a: Tensor) => matmul(a, a, undefined, { transposeA: true });
      for (const fn of [
        (a: Tensor) => svd(a)[1],
        (a: Tensor) => matmul(mul(svd(a)[0], 2), svd(a)[2]),
        (a: Tensor) => eigh(gram(a))[0],
        (a: Tensor) => {
          const [values, vectors] = eigh(gram(a));
          return mul(values.reshape([2, 1, 3]), vectors);
        },
        (a: Tensor) => qr(a)[1],
        (a: Tensor) => matmul(qr(a)[0], expm(mul(gram(a), 0.1))),
      ])
        expect(gradcheck(fn, [x]).compared).toBe(24);
    }));

  it('gives the gradient through equal values where the loss depends on the values alone', () =>
    scope(async () => {
      const [x, zero] = [identity(3), tensor(new Float32Array(9), [3, 3])];
      const ones = tensor([1, 1, 1]);
      // The trace: its gradient is the identity.
      expect(await worst(sub(eighBackward(x, ones, zero), x))).toBeLessThan(1e-6);
      expect(await worst(sub(svdBackward(x, zero, ones, zero), x))).toBeLessThan(1e-6);
    }));

  const square = [
    [1, 2],
    [3, 4],
  ];
  it.each([
    ['svd', (x: Tensor) => svd(x)[1]],
    ['eigh', (x: Tensor) => eigh(x)[1]],
    ['qr', (x: Tensor) => qr(x)[0]],
    ['expm', (x: Tensor) => expm(x)],
    ['svd_backward', (x: Tensor) => svdBackward(x, tensor(square), tensor([1, 2]), tensor(square))],
    ['eigh_backward', (x: Tensor) => eighBackward(x, tensor([1, 2]), tensor(square))],
    ['qr_backward', (x: Tensor) => qrBackward(x, tensor(square), tensor(square))],
  ])('%s refuses NaN and infinities', (op, call) =>
    scope(async () => {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
        const x = tensor([
          [
            [1, 2],
            [3, 4],
          ],
          [
            [1, bad],
            [3, 4],
          ],
        ]);
        const error = await failureOf(() =>
          (op.endsWith('_backward')
            ? call(
                tensor([
                  [1, bad],
                  [3, 4],
                ]),
              )
            : call(x)
          ).data(),
        );
        expectTyped(error, {
          code: 'ATTN_ARGUMENT',
          op,
          says: /matrix \d of the batch holds NaN or an infinity/,
        });
      }
    }),
  );

  it.each([
    [
      'eigh_backward',
      /eigenvalues coincide/,
      () => eighBackward(identity(2), tensor([1, 1]), tensor(square)),
    ],
    [
      'svd_backward',
      /singular values coincide/,
      () => svdBackward(identity(2), tensor(square), tensor([1, 1]), tensor(square)),
    ],
    [
      'svd_backward',
      /a singular value is 0/,
      () =>
        svdBackward(
          tensor([
            [1, 0],
            [0, 0],
            [0, 0],
          ]),
          tensor([
            [0, 0],
            [0, 1],
            [1, 0],
          ]),
          tensor([1, 1]),
          tensor([
            [0, 0],
            [0, 0],
          ]),
        ),
    ],
    [
      'qr_backward',
      /columns are dependent/,
      () =>
        qrBackward(
          tensor([
            [1, 1],
            [1, 1],
          ]),
          tensor(square),
          tensor(square),
        ),
    ],
  ])('%s refuses where the gradient does not exist: %s', (op, says, call) =>
    scope(async () => {
      expectTyped(await failureOf(() => call().data()), { code: 'ATTN_ARGUMENT', op, says });
    }),
  );
});
