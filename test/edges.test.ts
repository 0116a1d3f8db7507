/** Element-wise ops at zeros, infinities, NaN and huge values, against the reference, on every side. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as F from '../src/ops/index.js';
import { problemOf } from '../src/ops/record.js';
import { opNamed } from '../src/ops/registry.js';
import { Runtime, survey, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';

const inf = Number.POSITIVE_INFINITY;
const edges = Float32Array.from([
  0,
  -0,
  1,
  -1,
  2,
  -2,
  0.5,
  -0.5,
  3,
  -3,
  2.5,
  inf,
  -inf,
  Number.NaN,
  1e30,
  -1e30,
  100,
  -100,
  200,
  8000,
]);
const n = edges.length;
/** Angles that no range reduction in fp32 can take: the driver's own sine is all there is. */
const huge = (x: number) => Number.isFinite(x) && Math.abs(x) > 8192;

const unary = [
  F.neg,
  F.abs,
  F.exp,
  F.log,
  F.sqrt,
  F.rsqrt,
  F.square,
  F.sin,
  F.cos,
  F.tanh,
  F.sigmoid,
  F.relu,
];
const smooth = [F.gelu, F.geluTanh, F.silu, F.erf];
const binary = [F.add, F.sub, F.mul, F.div, F.pow, F.maximum, F.minimum];
const compare = [F.equal, F.notEqual, F.less, F.lessEqual, F.greater, F.greaterEqual];

const sides = [
  { side: 'cpu', options: { device: 'none', route: 'cpu' as const } },
  ...survey()
    .devices.filter((d) => !d.unusable)
    .map((d) => ({
      side: `vulkan:${d.index}`,
      options: { device: d.index, route: 'gpu' as const, cacheFolder: '' },
    })),
];

describe.each(sides)('$side', ({ options }) => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterAll(() => runtime.dispose());

  /** Equal, both NaN, or within 1e-5 relative to max(1, |want|). */
  const close = (got: number, want: number) =>
    Object.is(got, want) || got === want || Math.abs(got - want) <= 1e-5 * Math.max(1, Math.abs(want));

  it.each([...unary, ...smooth].map((f) => [f.op.name, f] as const))('%s', async (name, f) => {
    const x = tensor(edges);
    const y = f(x);
    const got = await y.data();
    const problem = problemOf(opNamed(name), [x.spec], {});
    const want = f.op.reference([Float64Array.from(edges)], problem as never)[0]!.map(Math.fround);
    const trigonometric = name === 'sin' || name === 'cos';
    const bad = [...edges.keys()].filter(
      (i) => !close(got[i]!, want[i]!) && !(trigonometric && huge(edges[i]!)),
    );
    expect(bad.map((i) => `${edges[i]}: ${got[i]}, expected ${want[i]}`)).toEqual([]);
    for (const t of [x, y]) t.dispose();
  });

  it.each([...binary, ...compare].map((f) => [f.op.name, f] as const))('%s', async (name, f) => {
    const a = tensor(edges, [n, 1]);
    const b = tensor(edges, [1, n]);
    const y = f(a, b);
    const got = await y.data();
    const problem = problemOf(opNamed(name), [a.spec, b.spec], {});
    const values = Float64Array.from(edges);
    const want = f.op.reference([values, values], problem as never)[0]!.map(Math.fround);
    const bad = [...want.keys()].filter((i) => !close(got[i]!, want[i]!));
    expect(
      bad.map((i) => `${edges[Math.floor(i / n)]}, ${edges[i % n]}: ${got[i]}, expected ${want[i]}`),
    ).toEqual([]);
    for (const t of [a, b, y]) t.dispose();
  });
});
