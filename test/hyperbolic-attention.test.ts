/** Hyperbolic attention: its tiles are the dense formula, and its score is the distance, at radii where others fail. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lorentz, polar } from '../src/geometry/hyperbolic.js';
import { autocast, type HyperbolicAttention, noGrad, Rotary } from '../src/index.js';
import * as F from '../src/ops/index.js';
import { record } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { decode } from '../src/tensor/dtype.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { failureOf } from './support/errors.js';
import { layerOf, outputOf, sequence, worst } from './support/layers.js';
import { sides } from './support/sides.js';

const floats = (x: Tensor) => x.dataSync() as Float32Array;
const softplus = (x: Tensor) => F.neg(F.logSigmoid(F.neg(x)));

/** A layer whose heads differ in sharpness and curvature. */
function unlike(config: object): HyperbolicAttention {
  const layer = layerOf({ kind: 'hyperbolic' } as never, {
    dim: 16,
    heads: 4,
    ...config,
  }) as HyperbolicAttention;
  const ramp = (n: number, from: number, to: number) =>
    tensor(
      Float32Array.from({ length: n }, (_, i) => from + ((to - from) * i) / n),
      [n],
    );
  const { heads, kvHeads } = layer.config;
  layer.loadStateDict(
    { ...layer.stateDict(), sharpness: ramp(heads, -0.5, 2), curvature: ramp(kvHeads, -2, 2) },
    { strict: true },
  );
  return layer;
}

/** What the layer computes, from distances and midpoints of src/geometry, with a matrix of weights. */
function dense(layer: HyperbolicAttention, x: Tensor, rope: Rotary): Tensor {
  const { heads, kvHeads, headDim: D, maxRadius: bound } = layer.config;
  const [B, T] = x.shape as [number, number];
  const z = layer.qkv.forward(x);
  const part = (from: number, n: number, width: number) =>
    F.slice(z, { starts: [0, 0, from], ends: [B, T, from + n * width] }).reshape([B, T, n, width]);
  const byHead = (t: Tensor) => F.permute(t, { axes: [0, 2, 1, 3] });
  // [B, heads, T, width], keys once for each query head that reads them.
  const spread = (t: Tensor) =>
    F.concat(
      Array.from({ length: heads }, (_, h) => {
        const head = Math.floor(h / (heads / kvHeads));
        return F.slice(t, { starts: [0, head], ends: [B, head + 1, T, t.shape[3]!] });
      }),
      { axis: 1 },
    );
  const point = (t: Tensor) => {
    const { r, u } = polar.fromTangent(t, { bound });
    return { r: byHead(r), u: byHead(rope.apply(u)) };
  };
  const q = point(part(0, heads, D));
  const k = point(part(heads * D, kvHeads, D));
  const v = byHead(part((heads + kvHeads) * D, kvHeads, D - 1));
  const of = (t: Tensor, shape: readonly number[]) => t.reshape([B, heads, ...shape, t.shape[3]!]);
  const c = F.add(softplus(layer.curvature), 1e-4).reshape([1, kvHeads, 1, 1]);
  const curvatures = F.concat(
    Array.from({ length: heads }, (_, h) => {
      const head = Math.floor(h / (heads / kvHeads));
      return F.slice(c, { starts: [0, head], ends: [1, head + 1, 1, 1] });
    }),
    { axis: 1 },
  );
  const distance = polar.distance(
    { r: of(q.r, [T, 1]), u: of(q.u, [T, 1]) },
    { r: of(spread(k.r), [1, T]), u: of(spread(k.u), [1, T]) },
    curvatures.reshape([1, heads, 1, 1, 1]),
  );
  const scores = F.neg(F.mul(distance, softplus(layer.sharpness).reshape([1, heads, 1, 1])));
  const past = F.tril(F.fill({ shape: [T, T], value: 1, dtype: 'bool' }));
  const weights = F.softmax(F.where(past, scores, -1e30), { axis: -1 });
  const mean = lorentz.midpoint(weights, lorentz.lift(spread(v)));
  const space = F.slice(mean, { starts: [0, 0, 0, 1], ends: [B, heads, T, D] });
  return layer.out.forward(byHead(space).reshape([B, T, heads * (D - 1)]));
}

describe.each(sides)('hyperbolic attention on $side', ({ options }) => {
  let runtime: Runtime;
  let before: Runtime | undefined;
  beforeAll(() => {
    runtime = new Runtime(options);
    before = useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(before);
    runtime.dispose();
  });

  it.each([{}, { kvHeads: 2, headDim: 6 }])(
    'is the dense formula, and so are its gradients: %j',
    (config) => {
      const run = (forward: (layer: HyperbolicAttention, x: Tensor, rope: Rotary) => Tensor) => {
        const layer = unlike(config);
        const rope = new Rotary({ dim: layer.rotaryDim });
        const y = forward(layer, sequence(2, 21, 16), rope);
        F.sum(F.mul(y, sequence(2, 21, 16, 2))).backward();
        return [y, ...layer.parameters().map((p) => p.grad!)].map(floats);
      };
      const tiled = run((layer, x, rope) => layer.forward(x, { rope }));
      const wanted = run(dense);
      expect(worst(tiled[0]!, wanted[0]!)).toBeLessThan(1e-5);
      tiled.forEach((values, i) => {
        expect(worst(values, wanted[i]!) / Math.max(1, ...wanted[i]!.map(Math.abs))).toBeLessThan(2e-5);
      });
    },
  );

  /** The score of one query and one key: with nothing beside it, its log-sum-exp. */
  const scoreOf = (r: number, u: number[], s: number, w: number[], beta: number) =>
    scope(() => {
      const row = (x: number[]) => tensor(Float32Array.from(x), [1, 1, 1, x.length]);
      const operands = [row(u), row(w), row(w), tensor(Float32Array.of(r, beta, s), [1, 3])];
      const [, lse] = record(F.scoredAttention.op as never, operands, { score: 'hyperbolic' }) as Tensor[];
      return lse!.dataSync()[0]!;
    });

  it('scores minus the distance: along a ray, across the origin, and at angles, to radius 12', () => {
    for (const r of [0.5, 3, 8, 12])
      for (const s of [0.25, 2.5, 7, 11.5]) {
        const [e, other] = [
          [1, 0],
          [-1, 0],
        ];
        expect(Math.abs(scoreOf(r, e!, s, e!, 1) / Math.abs(r - s) + 1)).toBeLessThan(1e-6);
        expect(Math.abs(scoreOf(r, e!, s, other!, 2) / (r + s) / 2 + 1)).toBeLessThan(1e-6);
        for (const angle of [0.1, 1, 2.5]) {
          const [x, y] = [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))];
          const half = Math.sinh((r - s) / 2) ** 2 + (Math.sinh(r) * Math.sinh(s) * (1 - x)) / 2;
          const d = 2 * Math.asinh(Math.sqrt(half));
          expect(Math.abs(scoreOf(r, e!, s, [x, y], 0.5) / d / 0.5 + 1)).toBeLessThan(1e-6);
        }
      }
  });

  it('sees differences of places alone', () => {
    const layer = unlike({});
    const rope = new Rotary({ dim: layer.rotaryDim });
    const x = sequence(1, 9, 16);
    const at = (first: number) =>
      tensor(
        Int32Array.from({ length: 9 }, (_, t) => first + t),
        [9],
      );
    const y = outputOf(layer, x, { rope, positions: at(0) });
    expect(worst(outputOf(layer, x, { rope, positions: at(101) }), y)).toBeLessThan(1e-5);
    expect(worst(outputOf(layer, x), y)).toBeGreaterThan(1e-3);
  });

  it('stays finite, with its gradients, for inputs of any size and for none', () => {
    for (const size of [0, 1e-20, 1e4]) {
      const layer = unlike({ bias: false });
      const y = layer.forward(F.mul(sequence(1, 9, 16), size));
      F.sum(y).backward();
      for (const t of [y, ...layer.parameters().map((p) => p.grad!)])
        expect(floats(t).every(Number.isFinite)).toBe(true);
    }
  });

  it('refuses heads without room for time and space, and radii that float32 cannot tell apart', async () => {
    const make = (more: object) => () =>
      layerOf({ kind: 'hyperbolic' } as never, { dim: 8, heads: 8, ...more });
    expect(await failureOf(make({}))).toMatchObject({ code: 'ATTN_ARGUMENT' });
    for (const maxRadius of [0, -1, 13, Number.NaN])
      expect(await failureOf(make({ headDim: 4, maxRadius }))).toMatchObject({ code: 'ATTN_ARGUMENT' });
  });

  it('a curvature beyond what float32 holds is held there, and halves around do not spoil the score', () => {
    const layer = unlike({ maxRadius: 12 });
    const c = tensor(new Float32Array(4).fill(300), [4]);
    layer.loadStateDict({ ...layer.stateDict(), curvature: c }, { strict: true });
    const far = F.mul(sequence(1, 9, 16), 60);
    const y = layer.forward(far);
    F.sum(F.mul(y, sequence(1, 9, 16, 3))).backward();
    for (const t of [y, ...layer.parameters().map((p) => p.grad!)])
      expect(floats(t).every(Number.isFinite)).toBe(true);
    const plain = unlike({});
    const x = F.mul(sequence(2, 33, 16), 6);
    const exact = outputOf(plain, x);
    const half = noGrad(() => autocast('bfloat16', () => plain.forward(x)));
    const size = Math.max(...exact.map(Math.abs));
    expect(worst(decode(half.dtype, half.dataSync()), exact) / size).toBeLessThan(0.02);
  });
});
