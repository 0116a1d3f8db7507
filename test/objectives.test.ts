/** What training minimises: every objective against its formula, its gradient, and where tokens stop. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  autocast,
  crossEntropy,
  generator,
  gradcheck,
  manualSeed,
  noGrad,
  scope,
  sum,
} from '../src/index.js';
import { GPT, type GPTConfig, objectives } from '../src/model/index.js';
import { confidence, doubt, drawn, surprise } from '../src/model/objectives.js';
import { AdamW } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise, withParameters, worst } from './support/layers.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
  manualSeed(7);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

const [B, T, V, L] = [2, 5, 11, 3];
const N = B * T;
const small: GPTConfig = { vocab: V, layers: L, dim: 16, heads: 4, length: 8, shared: true, init: 'plain' };
const numbers = (step: number, shift = 1) => Int32Array.from({ length: N }, (_, i) => (i * step + shift) % V);
const ids = () => tensor(numbers(3), [B, T]);
/** The last label of the first row does not count. */
const labels = (shift = 1) => tensor(numbers(5, shift).fill(-100, T - 1, T), [B, T]);
const floats = (t: Tensor) => t.dataSync() as Float32Array;

/** A model whose layers are sure of something, differently so at each token. */
function confident(more: Partial<GPTConfig> = {}): GPT {
  const model = new GPT({ ...small, ...more });
  const dict = Object.fromEntries(
    [...model.namedParameters()].map(([name, p], k) => [
      name,
      tensor(
        noise(p.size, k + 2).map((v) => (name.includes('norm') ? 1 + 0.1 * v : 0.5 * v)),
        [...p.shape],
      ),
    ]),
  );
  model.loadStateDict(dict);
  return model;
}

/** Logits after each layer, one more of a shared block: [L + 1][N][V]. */
function logitsOf(model: GPT): number[][][] {
  return noGrad(() => {
    let r = model.embed(ids());
    return Array.from({ length: L + 1 }, (_, i) => {
      r = model.apply(Math.min(i, L - 1), r);
      const z = floats(model.unembed(r));
      return Array.from({ length: N }, (_, n) => [...z.subarray(n * V, (n + 1) * V)]);
    });
  });
}

const softmax = (z: readonly number[]) => {
  const e = z.map(Math.exp);
  const all = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / all);
};

/** The formulas of objectives.ts, token by token, as they are written there. */
function formula(objective: string, model: GPT, y: Int32Array, draws: readonly Float32Array[]): number {
  const z = logitsOf(model);
  const counted = [...y.keys()].filter((n) => y[n] !== -100);
  const next = objective === 'exit5' || objective === 'exit6' ? 1 : 0;
  const p = (i: number, n: number) => Math.max(...softmax(z[i - 1]![n]!));
  const xe = (i: number, n: number) => -Math.log(softmax(z[i - 1]![n]!)[y[n]!]!);
  const c = (i: number, n: number) => -Math.log(1 - p(i, n));
  const layers = Array.from({ length: L }, (_, i) => i + 1);
  const stopsAt = (n: number) => layers.find((i) => i === L || draws[i - 1]![n]! < p(i + next, n))!;
  const m = (i: number, n: number) => +(i < stopsAt(n));
  const t = (i: number, n: number) => m(i - 1, n) - m(i, n);
  const of: Record<string, (n: number, i: number) => number> = {
    last: (n, i) => (i === L ? xe(L, n) : 0),
    all: (n, i) => xe(i, n),
    exit1: (n, i) => (i === L ? xe(L, n) : 0) + Math.log(p(i, n)) / L,
    exit2: (n, i) => (i === L ? xe(L, n) : 0) + Math.log(1 - p(i, n)) / L,
    exit3: (n, i) => xe(i, n) * c(i, n) * m(i - 1, n),
    exit4: (n, i) => (t(i, n) * xe(i, n) + 1 - t(i, n)) * c(i, n) * m(i - 1, n),
    exit5: (n, i) => (t(i, n) * xe(i, n) + 1 - t(i, n)) * c(i + 1, n) * m(i - 1, n),
    exit6: (n, i) => t(i, n) * xe(i, n) - (i > 1 ? c(i + 1, n) * m(i - 1, n) : 0),
  };
  const total = counted.flatMap((n) => layers.map((i) => of[objective]!(n, i))).reduce((a, b) => a + b, 0);
  return total / counted.length;
}

/** Those that the objective is about to take from the generator. */
function comingDraws(): Float32Array[] {
  const { state } = generator;
  const taken = scope(() => drawn(L - 1, ids()).map((u) => Float32Array.from(floats(u))));
  generator.state = state;
  return taken;
}

describe.each(objectives)('objective %s', (objective) => {
  it('is its formula, wherever tokens stop', () => {
    const model = confident({ objective });
    for (const seed of [1, 2, 3, 4]) {
      manualSeed(seed);
      const draws = comingDraws();
      for (const shift of [1, 4]) {
        manualSeed(seed);
        const y = labels(shift);
        const got = noGrad(() => model.objective(ids(), y).itemSync());
        expect(got).toBeCloseTo(formula(objective, model, y.dataSync() as Int32Array, draws), 4);
      }
    }
    expect(model.loss(ids(), labels()).itemSync()).toBe(
      new GPTLoss(model).of(ids(), labels()), // whatever the objective, the loss is the last layer's
    );
  });

  it('repeats from the same state of the generator, and draws once', () => {
    const model = confident({ objective });
    const run = () => noGrad(() => model.objective(ids(), labels()).itemSync());
    manualSeed(5);
    const { state } = generator;
    const first = run();
    const stops = /exit[3-6]/.test(objective);
    expect(generator.state.counter - state.counter).toBe(stops ? 1 : 0);
    generator.state = state;
    expect(run()).toBe(first);
    // Nothing counts, nothing is minimised.
    const none = noGrad(() =>
      model.objective(ids(), tensor(new Int32Array(N).fill(-100), [B, T])).itemSync(),
    );
    if (!/exit[12]/.test(objective)) expect(Math.abs(none)).toBe(0);
    expect(Number.isFinite(none)).toBe(true);
  });

  it('trains, in halves too, and stays finite', async () => {
    for (const half of [false, true]) {
      const model = new GPT({ ...small, objective });
      const optimizer = new AdamW(model.parameters(), { lr: 1e-2, maxNorm: 1 });
      const values: number[] = [];
      for (let step = 0; step < 10; step++)
        values.push(
          await scope(async () => {
            const make = () => model.objective(ids(), labels());
            const value = half ? autocast('bfloat16', make) : make();
            value.backward();
            optimizer.step();
            optimizer.zeroGrad();
            return value.item();
          }),
        );
      expect(values.every(Number.isFinite)).toBe(true);
      expect(await optimizer.skippedSteps()).toBe(0);
      if (!/exit[345]/.test(objective)) expect(values[9]!).toBeLessThan(values[0]!);
      optimizer.dispose();
      model.dispose();
    }
    expect(runtime.tensors).toBe(0);
  });
});

/** The cross-entropy of the last layer, by the pieces of a model. */
class GPTLoss {
  constructor(readonly model: GPT) {}
  of(x: Tensor, y: Tensor): number {
    return noGrad(() => {
      let r = this.model.embed(x);
      for (let i = 0; i < L; i++) r = this.model.apply(i, r);
      return crossEntropy(this.model.unembed(r), y).itemSync();
    });
  }
}

it.each(['all', 'exit1', 'exit2', 'exit3', 'exit4'] as const)(
  'the gradient of %s is its own',
  (objective) => {
    const model = confident({ objective, layers: 2 });
    const [x, y] = [ids(), labels()];
    const f = (...parameters: Tensor[]) => {
      manualSeed(3); // draws are constants
      return withParameters(model, parameters, () => model.objective(x, y));
    };
    const { compared } = gradcheck(f, model.parameters(), { samples: 2, tolerance: 2e-5 });
    expect(compared).toBeGreaterThan(20);
  },
);

it.each(['exit5', 'exit6'] as const)('in %s no gradient flows into what judges', (objective) => {
  const model = confident({ objective });
  // A second model of the same weights judges, and learns nothing.
  const judge = confident({ objective });
  manualSeed(3);
  const draws = comingDraws();
  model.objective(ids(), labels()).backward();
  const got = model.parameters().map((p) => Float32Array.from(floats(p.grad!)));
  model.zeroGrad();
  for (const p of judge.parameters()) p.requiresGrad = false;
  const y = labels();
  const counts = [...(y.dataSync() as Int32Array)].map((label) => +(label !== -100) / (N - 1));
  const mean = (v: Tensor, mask: readonly number[]) =>
    sum(
      v.mul(
        tensor(
          Float32Array.from(mask, (on, n) => on * counts[n]!),
          [B, T],
        ),
      ),
    );
  let r = model.embed(ids());
  let running = new Array<number>(N).fill(1);
  let total = tensor(0);
  for (let i = 1; i <= L; i++) {
    r = model.apply(i - 1, r);
    const xe = crossEntropy(model.unembed(r), y, { reduction: 'none' });
    const u = doubt(judge.unembed(judge.apply(0, r)));
    const p = [...floats(u)].map((v) => 1 / (1 + Math.exp(v)));
    const stay = running.map((m, n) => (i === L || draws[i - 1]![n]! < p[n]! ? 0 : m));
    const stop = running.map((m, n) => m - stay[n]!);
    if (objective === 'exit6') {
      total = total.add(mean(xe, stop));
      if (i > 1) total = total.sub(mean(confidence(u), running));
    } else total = total.add(mean(xe.mul(confidence(u)), stop)).add(mean(confidence(u), stay));
    running = stay;
  }
  total.backward();
  model.parameters().forEach((p, k) => {
    const size = Math.max(1e-3, ...got[k]!.map(Math.abs));
    expect(worst(floats(p.grad!), got[k]!) / size).toBeLessThan(2e-5);
  });
  // Parameters are as they were: gradients reach them again.
  expect(model.parameters().every((p) => p.requiresGrad)).toBe(true);
});

describe('confidence', () => {
  const of = (rows: number[][]) => {
    const u = doubt(tensor(rows));
    return [floats(surprise(u)), floats(confidence(u)), floats(u)] as const;
  };

  it('is right where p is near 0 and near 1', () => {
    const even = Array.from({ length: 5000 }, () => 2);
    const [nll, c] = of([even]);
    expect(nll[0]! / Math.log(5000)).toBeCloseTo(1, 6);
    expect(c[0]! / -Math.log1p(-1 / 5000)).toBeCloseTo(1, 3);
    const [sureNll, sureC] = of([
      [0, 30, -1, 2],
      [500, 0, 0, 0],
      [-3e4, 3e4, 0, 0],
    ]);
    // Of 1 - p = 1e-13 nothing would be left in float32.
    expect(sureC[0]! / (30 - Math.log(1 + Math.exp(-1) + Math.exp(2)))).toBeCloseTo(1, 6);
    expect(Math.abs(sureNll[0]!)).toBeLessThan(1e-6);
    expect(sureC[1]).toBeCloseTo(500 - Math.log(3), 2);
    expect(sureC[2]).toBeCloseTo(3e4 - Math.log(2), 1);
    expect(Math.abs(sureNll[2]!)).toBe(0);
  });

  it('is ln 2 where two are alike, and has the gradient of its formula', () => {
    const [nll, c] = of([[1, 1]]);
    expect(nll[0]).toBeCloseTo(Math.LN2, 6);
    expect(c[0]).toBeCloseTo(Math.LN2, 6);
    const z = tensor(
      noise(24, 3).map((v) => 3 * v),
      [4, 6],
    );
    expect(gradcheck((x) => confidence(doubt(x)), [z]).compared).toBe(24);
    expect(gradcheck((x) => surprise(doubt(x)), [z]).compared).toBe(24);
  });

  it('is drawn against by numbers that are uniform, and others at each step', () => {
    const x = tensor(new Int32Array(20_000), [100, 200]);
    const [a, b] = drawn(2, x).map(floats) as [Float32Array, Float32Array];
    const [again] = drawn(1, x).map(floats) as [Float32Array];
    for (const u of [a, b, again]) {
      expect(u.every((v) => v >= 0 && v < 1)).toBe(true);
      expect(u.reduce((s, v) => s + v, 0) / u.length).toBeCloseTo(0.5, 1);
      for (const bound of [0.01, 0.3, 0.9])
        expect(Math.abs(u.filter((v) => v < bound).length / u.length - bound)).toBeLessThan(0.012);
    }
    const same = (u: Float32Array, v: Float32Array) => u.filter((x, i) => x === v[i]).length;
    expect(same(a, b) + same(a, again) + same(b, again)).toBeLessThan(10);
  });
});

describe('early exit', () => {
  it.each(['all', 'exit2', 'exit4', 'exit6'] as const)(
    'of %s takes the first layer that is sure',
    async (objective) => {
      const model = confident({ objective });
      const z = logitsOf(model);
      const next = objective === 'exit6' ? 1 : 0;
      const lastTokens = Array.from({ length: B }, (_, b) => (b + 1) * T - 1);
      const sureness = (layer: number) =>
        Math.min(...lastTokens.map((n) => Math.max(...softmax(z[layer - 1 + next]![n]!))));
      const seen = new Set<number>();
      for (const confidence of [
        0,
        0.2,
        0.35,
        0.5,
        0.7,
        0.9,
        0.99,
        1,
        sureness(1) - 1e-5,
        sureness(1) + 1e-5,
      ]) {
        const wanted = [1, 2, 3].find((layer) => layer === L || sureness(layer) >= confidence)!;
        const { logits, layer } = await model.exit(ids(), { confidence });
        expect(layer).toBe(wanted);
        seen.add(layer);
        expect(worst(floats(logits), z[layer - 1]!.flat())).toBeLessThan(1e-5);
        // Text is written by the same layers.
        const text = await model.generate(ids(), { tokens: 1, temperature: 0, exit: confidence });
        const best = lastTokens.map((n) => {
          const row = z[wanted - 1]![n]!;
          return row.indexOf(Math.max(...row));
        });
        expect([0, 1].map((b) => text.dataSync()[b * (T + 1) + T])).toEqual(best);
      }
      expect(seen.size).toBeGreaterThan(1);
    },
  );

  it('is refused where layers have not learned to speak', async () => {
    await expectTyped(await failureOf(() => confident().exit(ids())), {
      code: 'ATTN_ARGUMENT',
      says: /objective is 'last'/,
    });
    const model = confident({ objective: 'all' });
    for (const confidence of [-0.1, 1.1, Number.NaN])
      await expectTyped(await failureOf(() => model.exit(ids(), { confidence })), {
        code: 'ATTN_ARGUMENT',
        says: /confidence/,
      });
    await expectTyped(await failureOf(() => model.exit([1] as never)), { code: 'ATTN_ARGUMENT' });
  });
});
