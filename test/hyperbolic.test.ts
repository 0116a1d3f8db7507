/** Hyperbolic geometry: identities in Float64, precision in float32, gradients, and what is refused. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inFloat64 } from '../src/autograd/gradcheck.js';
import { lorentz, poincare, polar } from '../src/geometry/hyperbolic.js';
import { add, asinh, gradcheck, scope, sinh, sub, type Tensor, tensor, valueAndGrad } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { expectTyped, failureOf } from './support/errors.js';
import { sides } from './support/sides.js';

const D = 5;
const runs = { seed: 11, numRuns: 40 };
const norm = (v: ArrayLike<number>) => Math.hypot(...Array.from(v));
const scaled = (v: readonly number[], length: number) => v.map((x) => (x * length) / norm(v));
const vector = fc
  .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: D, maxLength: D })
  .filter((v) => norm(v) > 0.1);
const curvature = fc.constantFrom(1, 0.3, 2.5);
const product = (x: ArrayLike<number>, y: ArrayLike<number>) =>
  Array.from(x).reduce((s, v, i) => s + (i === 0 ? -1 : 1) * v * y[i]!, 0);
const largest = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a).map((v, i) => Math.abs(v - b[i]!)));
/** A function of vectors, in Float64. */
const exact = (fn: (...x: Tensor[]) => Tensor, ...vectors: ArrayLike<number>[]) =>
  Array.from(
    inFloat64(
      fn,
      vectors.map((values) => ({ shape: [values.length], values })),
    ),
  );
const one = (fn: (...x: Tensor[]) => Tensor, ...vectors: ArrayLike<number>[]) => exact(fn, ...vectors)[0]!;

describe.each(sides)('$side', ({ side, options }) => {
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

  /** Float64 is the references', whatever the side. */
  describe.runIf(side === 'cpu')('in Float64', () => {
    it('exp on the hyperboloid goes as far as the tangent is long, and log comes back', () => {
      fc.assert(
        fc.property(
          vector,
          vector,
          fc.double({ min: 0.01, max: 3, noNaN: true }),
          fc.double({ min: -4, max: 0.47, noNaN: true }),
          curvature,
          (at, to, radius, length, c) => {
            const x = exact((z) => lorentz.lift(z, c), scaled(at, radius));
            const free = exact((a, b) => lorentz.tangent(a, b, c), x, [0, ...to]);
            const v = free.map((e) => (e * 10 ** length) / Math.sqrt(product(free, free)));
            const y = exact((a, b) => lorentz.exp(a, b, c), x, v);
            expect(Math.abs(c * product(y, y) + 1)).toBeLessThan(1e-12 * c * y[0]! ** 2);
            const d = one((a, b) => lorentz.distance(a, b, c), x, y);
            // Coordinates hold cosh(√c r): they resolve steps of ε cosh(√c r).
            expect(Math.abs(d / 10 ** length - 1)).toBeLessThan(
              1e-10 * Math.max(1, (y[0]! * 1e-4) / 10 ** length),
            );
            const back = exact((a, b) => lorentz.log(a, b, c), x, y);
            expect(largest(back, v)).toBeLessThan(1e-9 * Math.max(1, norm(v)));
          },
        ),
        runs,
      );
    });

    it('transport keeps products of tangents, and takes the velocity of a geodesic along', () => {
      fc.assert(
        fc.property(vector, vector, vector, vector, curvature, (p, q, a, b, c) => {
          const [x, y] = [p, q].map((z) => exact((t) => lorentz.lift(t, c), z)) as [number[], number[]];
          const [v, w] = [a, b].map((t) => exact((m, n) => lorentz.tangent(m, n, c), x, [0, ...t])) as [
            number[],
            number[],
          ];
          const [v2, w2] = [v, w].map((t) => exact((m, n, k) => lorentz.transport(m, n, k, c), x, y, t)) as [
            number[],
            number[],
          ];
          expect(Math.abs(product(v2, w2) - product(v, w))).toBeLessThan(1e-10 * (1 + norm(v) * norm(w)));
          expect(Math.abs(product(y, v2))).toBeLessThan(1e-10 * (1 + norm(v2)));
          const go = exact((m, n) => lorentz.log(m, n, c), x, y);
          const come = exact((m, n) => lorentz.log(m, n, c), y, x);
          const carried = exact((m, n, k) => lorentz.transport(m, n, k, c), x, y, go);
          expect(
            largest(
              carried,
              come.map((e) => -e),
            ),
          ).toBeLessThan(1e-9);
        }),
        runs,
      );
    });

    it('the three models tell the same distances', () => {
      fc.assert(
        fc.property(vector, vector, curvature, (p, q, c) => {
          const [x, y] = [p, q].map((z) => exact((t) => lorentz.lift(t, c), z)) as [number[], number[]];
          const d = one((a, b) => lorentz.distance(a, b, c), x, y);
          const viaPolar = one(
            (a, b) => polar.distance(polar.fromLorentz(a, c), polar.fromLorentz(b, c), c),
            x,
            y,
          );
          const viaBall = one(
            (a, b) => poincare.distance(poincare.fromLorentz(a, c), poincare.fromLorentz(b, c), c),
            x,
            y,
          );
          expect(Math.abs(viaPolar - d)).toBeLessThan(1e-10);
          expect(Math.abs(viaBall - d)).toBeLessThan(1e-10);
          expect(
            largest(
              exact((a) => polar.toLorentz(polar.fromLorentz(a, c), c), x),
              x,
            ),
          ).toBeLessThan(1e-12);
          expect(
            largest(
              exact((a) => poincare.toLorentz(poincare.fromLorentz(a, c), c), x),
              x,
            ),
          ).toBeLessThan(1e-11);
          const [ball] = [exact((a) => polar.toPoincare(polar.fromLorentz(a, c), c), x)];
          expect(
            largest(
              ball!,
              exact((a) => poincare.fromLorentz(a, c), x),
            ),
          ).toBeLessThan(1e-12);
          // cosh √c d = cosh √c r₁ cosh √c r₂ - sinh √c r₁ sinh √c r₂ cos θ
          expect(Math.abs(Math.acosh(Math.max(1, -c * product(x, y))) / Math.sqrt(c) - d)).toBeLessThan(1e-6);
        }),
        runs,
      );
    });

    it('in the ball, exp and log are inverse, Möbius addition cancels, transport is an isometry', () => {
      fc.assert(
        fc.property(vector, vector, vector, curvature, (a, b, t, c) => {
          const inside = (v: readonly number[]) => v.map((e) => (0.3 * e) / Math.sqrt(c));
          const [x, y, v] = [inside(a), inside(b), inside(t)];
          const sum = exact((m, n) => poincare.mobiusAdd(m, n, c), x, y);
          expect(
            largest(
              exact(
                (m, n) => poincare.mobiusAdd(m, n, c),
                x.map((e) => -e),
                sum,
              ),
              y,
            ),
          ).toBeLessThan(1e-12);
          const far = exact((m, n) => poincare.exp(m, n, c), x, v);
          expect(
            largest(
              exact((m, n) => poincare.log(m, n, c), x, far),
              v,
            ),
          ).toBeLessThan(1e-9);
          const lambda = (p: readonly number[]) => 2 / (1 - c * norm(p) ** 2);
          const d = one((m, n) => poincare.distance(m, n, c), x, far);
          expect(Math.abs(d / (lambda(x) * norm(v)) - 1)).toBeLessThan(1e-10);
          const moved = exact((m, n, k) => poincare.transport(m, n, k, c), x, y, v);
          expect(Math.abs(lambda(y) * norm(moved) - lambda(x) * norm(v))).toBeLessThan(1e-10);
          const go = exact((m, n) => poincare.log(m, n, c), x, y);
          const come = exact((m, n) => poincare.log(m, n, c), y, x);
          const carried = exact((m, n, k) => poincare.transport(m, n, k, c), x, y, go);
          expect(
            largest(
              carried,
              come.map((e) => -e),
            ),
          ).toBeLessThan(1e-9);
          expect(
            largest(
              exact((k) => poincare.logOrigin(poincare.expOrigin(k, c), c), v),
              v,
            ),
          ).toBeLessThan(1e-12);
          expect(
            largest(
              exact((k) => poincare.expOrigin(k, c), v),
              exact(
                (o, k) => poincare.exp(o, k, c),
                v.map(() => 0),
                v,
              ),
            ),
          ).toBeLessThan(1e-14);
        }),
        runs,
      );
    });

    it('the midpoint of two points is as far from either, and weights need not sum to 1', () => {
      const [x, y] = [
        [0.3, -0.2, 0.7],
        [-1.1, 0.4, 0.2],
      ].map((z) => exact((t) => lorentz.lift(t), z));
      const mean = (weight: number) =>
        Array.from(
          inFloat64(
            (w, p) => lorentz.midpoint(w, p),
            [
              { shape: [1, 2], values: [weight, weight] },
              { shape: [2, 4], values: [...x!, ...y!] },
            ],
          ),
        );
      const [m, same] = [mean(0.5), mean(7)];
      expect(largest(m, same)).toBeLessThan(1e-14);
      const [left, right] = [x!, y!].map((p) => one((a, b) => lorentz.distance(a, b), p, m));
      expect(Math.abs(left! - right!)).toBeLessThan(1e-12);
      expect(Math.abs(left! + right! - one((a, b) => lorentz.distance(a, b), x!, y!))).toBeLessThan(1e-12);
    });
  });

  it('pseudo-polar distances keep their digits in float32 at every radius', async () => {
    const cases: { r: number[]; u: number[][] }[] = [];
    for (const r of [0.5, 1, 2, 3, 5, 8, 10, 12])
      for (const angle of [1e-3, 1e-2, 0.1, 1])
        for (const change of [0, 1e-2, 0.7])
          cases.push({
            r: [r, r + change].map(Math.fround),
            u: [0, angle].map((t) => [Math.cos(t + 0.3), Math.sin(t + 0.3)].map(Math.fround)),
          });
    const points = (side: number) => ({
      r: tensor(cases.map(({ r }) => [r[side]!])),
      u: tensor(cases.map(({ u }) => u[side]!)),
    });
    const got = await scope(() => polar.distance(points(0), points(1)).data());
    let worst = 0;
    cases.forEach(({ r: [r1, r2], u: [a, b] }, i) => {
      // The law of cosines in the form of haversines, the angle from the rounded directions.
      const theta = Math.atan2(
        Math.abs(a![0]! * b![1]! - a![1]! * b![0]!),
        a![0]! * b![0]! + a![1]! * b![1]!,
      );
      const hav =
        Math.sinh((r1! - r2!) / 2) ** 2 + Math.sinh(r1!) * Math.sinh(r2!) * Math.sin(theta / 2) ** 2;
      const expected = 2 * Math.asinh(Math.sqrt(hav));
      worst = Math.max(worst, Math.abs(got[i]! / expected - 1));
    });
    expect(worst).toBeLessThan(1e-6);
  });

  it('on the hyperboloid radii to 3 keep 1e-5 in float32, pairs out there what their coordinates resolve', async () => {
    const radii = [1e-3, 0.1, 0.5, 1, 2, 3];
    const directions = [0, 1, 2, 3].map((k) => scaled([Math.sin(k + 1), Math.cos(3 * k), 0.4], 1));
    await scope(async () => {
      const origin = tensor([1, 0, 0, 0]);
      const velocity = tensor(radii.flatMap((r) => directions.map((u) => [0, ...scaled(u, r)])));
      const x = lorentz.exp(origin, velocity);
      const d = await lorentz.distance(origin, x).data();
      const back = await lorentz.log(origin, x).data();
      const length = (i: number) => radii[Math.floor(i / directions.length)]!;
      d.forEach((e, i) => {
        expect(Math.abs(e / length(i) - 1)).toBeLessThan(1e-5);
      });
      expect(largest(back, await velocity.data())).toBeLessThan(3e-5);
      // Every pair, against Float64 from the same coordinates of space.
      const all = Array.from(await x.data());
      const n = radii.length * directions.length;
      const pairs = (f: (a: Tensor, b: Tensor) => Tensor) => (p: Tensor) =>
        f(p.reshape([n, 1, 4]), p.reshape([1, n, 4]));
      const lifted = pairs((a, b) => lorentz.distance(lorentz.project(a), lorentz.project(b)));
      const got = await lifted(x).data();
      const wanted = inFloat64(lifted, [{ shape: [n, 4], values: all }]);
      got.forEach((e, i) => {
        const [r1, r2] = [length(Math.floor(i / n)), length(i % n)];
        const resolution = 2 ** -23 * Math.cosh(Math.max(r1, r2)) ** 2;
        if (wanted[i]! > 0.5) expect(Math.abs(e / wanted[i]! - 1)).toBeLessThan(4 * resolution);
      });
    });
  });

  it('sinh and asinh keep their digits near 0 and far out', async () => {
    const at = [1e-30, 1e-8, 1e-4, 0.02, 0.3, 0.43, 0.99, 1.01, 3, 20, 60, 88.5].flatMap((x) => [x, -x]);
    const far = [1e7, 3e19, 1e38].flatMap((x) => [x, -x]);
    for (const [f, of, xs] of [
      [sinh, Math.sinh, at],
      [asinh, Math.asinh, [...at, ...far]],
    ] as const) {
      const y = await scope(() => f(tensor(Float32Array.from(xs))).data());
      xs.forEach((x, i) => {
        expect(Math.abs(y[i]! / of(Math.fround(x)) - 1), `${of.name}(${x})`).toBeLessThan(6e-7);
      });
    }
    const edges = [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 100, -100];
    const [s, a] = await scope(() => Promise.all([sinh(tensor(edges)).data(), asinh(tensor(edges)).data()]));
    const inf = Number.POSITIVE_INFINITY;
    expect([...s!]).toEqual([0, -0, inf, -inf, Number.NaN, inf, -inf]);
    expect([...a!.slice(0, 5)]).toEqual([0, -0, inf, -inf, Number.NaN]);
  });

  it('gradients are right, and finite where points meet', async () => {
    const values = (k: number, length: number) =>
      Float32Array.from({ length }, (_, i) => 0.6 * Math.sin(k * i + k));
    const at = (k: number) => tensor(values(k, 6), [2, 3]);
    const [z, w] = [at(0.7), at(1.9)];
    const lifted = (fn: (x: Tensor, y: Tensor) => Tensor) => (a: Tensor, b: Tensor) =>
      fn(lorentz.lift(a), lorentz.lift(b));
    const functions: ((a: Tensor, b: Tensor) => Tensor)[] = [
      lifted((x, y) => lorentz.distance(x, y)),
      lifted((x, y) => lorentz.log(x, y)),
      lifted((x, y) => lorentz.exp(x, lorentz.tangent(x, y))),
      lifted((x, y) => lorentz.transport(x, y, lorentz.tangent(x, add(x, y)))),
      (a, b) => polar.distance(polar.fromTangent(a, { bound: 8 }), polar.fromTangent(b)),
      (a, b) => poincare.distance(poincare.expOrigin(a), poincare.expOrigin(b)),
      (a, b) => poincare.log(poincare.expOrigin(a), poincare.exp(poincare.expOrigin(b), a)),
      (a, b) => poincare.transport(poincare.expOrigin(a), poincare.expOrigin(b), sub(a, b)),
    ];
    if (side === 'cpu') for (const fn of functions) expect(gradcheck(fn, [z, w]).compared).toBeGreaterThan(0);
    // Where the tangent is 0 exp has the slope of x + v.
    if (side === 'cpu') {
      const nowhere = tensor(new Float32Array(6), [2, 3]);
      gradcheck((v) => poincare.exp(poincare.expOrigin(w), v), [nowhere]);
      nowhere.dispose();
    }
    const total = (fn: (a: Tensor, b: Tensor) => Tensor) => (a: Tensor, b: Tensor) => fn(a, b).sum();
    const zero = tensor(new Float32Array(6), [2, 3]);
    for (const fn of functions)
      for (const inputs of [
        [z, z],
        [zero, zero],
      ] as const)
        await scope(async () => {
          const { value, grads } = valueAndGrad(total(fn))(...inputs) as unknown as {
            value: Tensor;
            grads: Tensor[];
          };
          for (const t of [value, ...grads])
            expect([...(await t.data())].every(Number.isFinite), fn.toString()).toBe(true);
        });
    for (const t of [z, w, zero]) t.dispose();
  });

  it('a curvature may be learned', async () => {
    await scope(async () => {
      const c = tensor([[0.5], [2]]);
      const [x, y] = [0.2, 0.9].map((k) =>
        tensor([
          [k, 0.1, -k],
          [0.3, k, 0.2],
        ]),
      );
      const both = await polar.distance(polar.fromTangent(x!), polar.fromTangent(y!), c).data();
      const halves = await Promise.all(
        [0.5, 2].map((k) => polar.distance(polar.fromTangent(x!), polar.fromTangent(y!), k).data()),
      );
      expect(both[0]).toBeCloseTo(halves[0]![0]!, 6);
      expect(both[1]).toBeCloseTo(halves[1]![1]!, 6);
      if (side === 'cpu')
        gradcheck((k, a, b) => lorentz.distance(lorentz.lift(a, k), lorentz.lift(b, k), k), [c, x!, y!]);
    });
  });

  it('projections give points and tangents, and leave those that are', async () => {
    await scope(async () => {
      const x = lorentz.lift(tensor([[0.5, -0.2]]));
      const off = add(x, tensor([[0.3, 0, 0]]));
      expect((await lorentz.project(off).data())[0]).toBeCloseTo((await x.data())[0]!, 6);
      const v = lorentz.tangent(x, tensor([[1, 2, 3]]));
      expect((await lorentz.inner(x, v).data())[0]).toBeCloseTo(0, 5);
      expect(largest(await lorentz.tangent(x, v).data(), await v.data())).toBeLessThan(2e-6);
      const ball = await poincare
        .project(
          tensor([
            [3, 4],
            [0.3, 0.4],
          ]),
        )
        .data();
      expect(norm(ball.slice(0, 2))).toBeCloseTo(0.996, 6);
      expect(ball[2]).toBe(Math.fround(0.3));
    });
  });

  it('NaN stays NaN, and what makes no sense is refused', async () => {
    await scope(async () => {
      const x = tensor([[Number.NaN, 1]]);
      const y = tensor([[0.5, 1]]);
      for (const d of [
        lorentz.distance(lorentz.lift(x), lorentz.lift(y)),
        poincare.distance(poincare.expOrigin(x), poincare.expOrigin(y)),
        polar.distance(polar.fromTangent(x), polar.fromTangent(y)),
      ])
        expect((await d.data())[0]).toBeNaN();
      for (const [code, call] of [
        ['ATTN_ARGUMENT', () => lorentz.distance(x, y, -1)],
        ['ATTN_ARGUMENT', () => poincare.distance(x, y, Number.NaN)],
        ['ATTN_ARGUMENT', () => poincare.project(x, 1, 1)],
        ['ATTN_ARGUMENT', () => polar.fromTangent(x, { bound: 0 })],
        ['ATTN_ARGUMENT', () => lorentz.inner(x, [1, 2] as unknown as Tensor)],
        ['ATTN_SHAPE', () => lorentz.inner(x, tensor([[1, 2, 3]]))],
        ['ATTN_SHAPE', () => polar.distance({ r: x, u: x }, { r: x, u: x })],
      ] as const)
        expectTyped(await failureOf(call), { code });
    });
  });
});
