/** Optimisers against Float64 steps of their published formulas, on either side; clipping, skipped steps, state. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Parameter } from '../src/nn/parameter.js';
import { AdamW, clipGradNorm, Muon, type Optimizer, SGD } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { given, parameters, setGrads, shapes } from './support/parameters.js';
import { sides } from './support/sides.js';

const globalNorm = (grads: readonly (Float64Array | null)[]) =>
  Math.sqrt(grads.reduce((total, g) => total + (g?.reduce((s, v) => s + v * v, 0) ?? 0), 0));

function expectClose(got: Tensor, want: Float64Array, what: string, tolerance = 2e-6): void {
  const values = got.dataSync();
  let worst = 0;
  want.forEach((v, i) => {
    const error = Math.abs(values[i]! - v) / Math.max(1, Math.abs(v));
    if (!(error <= worst)) worst = error;
  });
  expect(worst, what).toBeLessThan(tolerance);
}

describe.each(sides)('on $side', ({ options }) => {
  let runtime: Runtime;
  let params: Parameter[];
  let optimizer: Optimizer | undefined;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
    params = parameters();
  });
  afterEach(() => {
    optimizer?.dispose();
    for (const p of params) p.dispose();
    const { tensors } = runtime;
    useRuntime(undefined);
    runtime.dispose();
    expect(tensors, 'tensors left').toBe(0);
  });

  it('AdamW takes the published step, whichever parameters have gradients', () => {
    const [decayed, plain] = [params.filter((_, i) => i % 2), params.filter((_, i) => i % 2 === 0)];
    const hyper = { lr: 0.01, betas: [0.9, 0.95] as [number, number], eps: 1e-8 };
    optimizer = new AdamW(
      [
        { params: decayed, weightDecay: 0.1 },
        { params: plain, weightDecay: 0, lr: 0.02 },
      ],
      { ...hyper, maxNorm: 2 },
    );
    const want = params.map((p, i) => ({
      p: Float64Array.from(p.dataSync()),
      m: new Float64Array(p.size),
      v: new Float64Array(p.size),
      t: 0,
      lr: i % 2 ? 0.01 : 0.02,
      decay: i % 2 ? 0.1 : 0,
    }));
    for (let step = 0; step < 6; step++) {
      optimizer.lrFactor = 1 / (step + 1);
      const grads = setGrads(params, step, step === 2 ? [1, 4] : step < 3 ? [5] : []);
      const clip = Math.min(1, 2 / (globalNorm(grads) + 1e-6));
      optimizer.step();
      optimizer.zeroGrad();
      want.forEach((w, i) => {
        const grad = grads[i];
        if (!grad) return;
        w.t++;
        const [b1, b2] = hyper.betas;
        const lr = w.lr / (step + 1);
        w.p.forEach((_, e) => {
          const g = grad[e]! * clip;
          w.p[e]! *= 1 - lr * w.decay;
          w.m[e] = b1 * w.m[e]! + (1 - b1) * g;
          w.v[e] = b2 * w.v[e]! + (1 - b2) * g * g;
          const denominator = Math.sqrt(w.v[e]!) / Math.sqrt(1 - b2 ** w.t) + hyper.eps;
          w.p[e]! -= ((lr / (1 - b1 ** w.t)) * w.m[e]!) / denominator;
        });
      });
      params.forEach((p, i) => {
        expectClose(p, want[i]!.p, `parameter ${i} after step ${step}`);
      });
    }
  });

  it.each([
    { momentum: 0, dampening: 0, nesterov: false },
    { momentum: 0.9, dampening: 0, nesterov: true },
    { momentum: 0.8, dampening: 0.3, nesterov: false },
  ])('SGD takes the published step: %o', (hyper) => {
    optimizer = new SGD(params, { lr: 0.1, weightDecay: 0.05, ...hyper });
    const want = params.map((p) => ({
      p: Float64Array.from(p.dataSync()),
      b: undefined as Float64Array | undefined,
    }));
    for (let step = 0; step < 4; step++) {
      const grads = setGrads(params, step, step === 1 ? [2] : []);
      optimizer.step();
      optimizer.zeroGrad();
      want.forEach((w, i) => {
        const grad = grads[i];
        if (!grad) return;
        const g = grad.map((v, e) => v + 0.05 * w.p[e]!);
        w.b = w.b ? w.b.map((v, e) => hyper.momentum * v + (1 - hyper.dampening) * g[e]!) : g;
        const direction = hyper.nesterov ? g.map((v, e) => v + hyper.momentum * w.b![e]!) : w.b;
        w.p.forEach((_, e) => {
          w.p[e]! -= 0.1 * direction[e]!;
        });
        expectClose(params[i]!, w.p, `parameter ${i} after step ${step}`);
      });
    }
  });

  it.each([
    { scaling: 'spectral' as const, parts: undefined, shape: [24, 8] },
    { scaling: 'moonshot' as const, parts: undefined, shape: [8, 40] },
    { scaling: 'spectral' as const, parts: [8, 8, 8], shape: [24, 8] },
    { scaling: 'spectral' as const, parts: [16, 5, 3], shape: [24, 8] },
  ])('Muon takes the published step: %o', ({ scaling, parts, shape }) => {
    const hidden = [0, 1, 2].map((i) => new Parameter(given(shape, 40 + i), { parts }));
    params.push(...hidden);
    const rest = params.filter((p) => !hidden.includes(p));
    optimizer = new Muon(hidden, {
      lr: 0.02,
      weightDecay: 0.1,
      scaling,
      adamw: { params: rest, lr: 0.01 },
    });
    const want = hidden.map((p) => ({ p: Float64Array.from(p.dataSync()), m: new Float64Array(p.size) }));
    const adam = Float64Array.from(rest[0]!.dataSync());
    for (let step = 0; step < 3; step++) {
      const grads = setGrads(params, step, step === 1 ? [params.indexOf(hidden[1]!)] : []);
      optimizer.step();
      optimizer.zeroGrad();
      want.forEach((w, k) => {
        const grad = grads[params.indexOf(hidden[k]!)];
        if (!grad) return;
        w.m = w.m.map((m, e) => 0.95 * m + 0.05 * grad[e]!);
        const u = w.m.map((m, e) => 0.05 * grad[e]! + 0.95 * m);
        const columns = shape[1]!;
        let row = 0;
        for (const rows of parts ?? [shape[0]!]) {
          const from = row * columns;
          const x = orthogonalised(u.subarray(from, from + rows * columns), rows, columns);
          const length =
            scaling === 'spectral'
              ? Math.sqrt(Math.max(1, rows / columns))
              : 0.2 * Math.sqrt(Math.max(rows, columns));
          x.forEach((v, e) => {
            w.p[from + e] = w.p[from + e]! * (1 - 0.02 * 0.1) - 0.02 * length * v;
          });
          row += rows;
        }
        expectClose(hidden[k]!, w.p, `matrix ${k} after step ${step}`, 1e-5);
      });
    }
    // The others are AdamW's: after one step each element has moved by about lr.
    const moved = rest[0]!.dataSync();
    expect(Math.max(...adam.map((v, i) => Math.abs(v - moved[i]!)))).toBeGreaterThan(0.005);
  });

  it('counts and skips a step whose gradient is not finite', async () => {
    optimizer = new AdamW(params, { lr: 0.1, maxNorm: 1 });
    setGrads(params, 0);
    optimizer.step();
    const before = params.map((p) => p.dataSync());
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      optimizer.zeroGrad();
      setGrads(params, 1);
      const grad = tensor([0, 0, bad, 0, 0]);
      params[1]!.grad = grad;
      grad.dispose();
      optimizer.step();
    }
    expect(params.map((p) => p.dataSync())).toEqual(before);
    expect(await optimizer.skippedSteps()).toBe(2);
    expect(await optimizer.stepsTaken()).toBe(1);
    optimizer.zeroGrad();
    const grads = setGrads(params, 2);
    optimizer.step();
    expect(await optimizer.gradNorm()).toBeCloseTo(globalNorm(grads), 4);
    expect(params[0]!.dataSync()).not.toEqual(before[0]);
    expect(await optimizer.stepsTaken()).toBe(2);
  });

  it('clips without an optimiser too', async () => {
    const grads = setGrads(params, 0);
    const norm = clipGradNorm(params, 0.5);
    expect(await norm.item()).toBeCloseTo(globalNorm(grads), 4);
    const factor = 0.5 / (globalNorm(grads) + 1e-6);
    params.forEach((p, i) => {
      expectClose(
        p.grad!,
        grads[i]!.map((g) => g * factor),
        `gradient ${i}`,
      );
    });
    norm.dispose();
    for (const p of params) p.grad = null;
  });

  it.each([
    { name: 'AdamW', make: (all: Parameter[], lr: number) => new AdamW(all, { lr }) },
    {
      name: 'SGD',
      make: (all: Parameter[], lr: number) => new SGD(all, { lr, momentum: 0.9, nesterov: true }),
    },
    {
      name: 'Muon',
      make: (all: Parameter[], lr: number) =>
        new Muon(
          all.filter((p) => p.rank === 2),
          { lr, adamw: { params: all.filter((p) => p.rank !== 2) } },
        ),
    },
  ])('$name goes on from a saved state to the same bits', async ({ make }) => {
    const train = (o: Optimizer, from: number, to: number) => {
      for (let step = from; step < to; step++) {
        setGrads(params, step, step === 1 ? [0, 1] : []);
        o.step();
        o.zeroGrad();
      }
    };
    optimizer = make(params, 0.05);
    train(optimizer, 0, 3);
    const state = optimizer.stateDict();
    const values = params.map((p) => p.dataSync());
    train(optimizer, 3, 5);
    const want = params.map((p) => p.dataSync());
    optimizer.dispose();
    for (const p of params) p.dispose();

    params = values.map((v, i) => new Parameter(tensor(v, shapes[i]!)));
    optimizer = make(params, 1);
    optimizer.loadStateDict(state);
    expect(optimizer.paramGroups[0]!.lr).toBe(0.05);
    train(optimizer, 3, 5);
    expect(params.map((p) => p.dataSync())).toEqual(want);
    expect(await optimizer.stepsTaken()).toBe(5);
    for (const t of Object.values(state.tensors)) t.dispose();
  });
});

/** Five Newton-Schulz iterations in Float64. */
function orthogonalised(u: Float64Array, rows: number, columns: number): Float64Array {
  const norm = Math.sqrt(u.reduce((s, v) => s + v * v, 0)) + 1e-7;
  const multiply = (x: Float64Array, y: Float64Array, n: number, k: number, m: number) => {
    const z = new Float64Array(n * m);
    for (let i = 0; i < n; i++)
      for (let l = 0; l < k; l++) for (let j = 0; j < m; j++) z[i * m + j]! += x[i * k + l]! * y[l * m + j]!;
    return z;
  };
  const transposed = (x: Float64Array, n: number, m: number) => {
    const z = new Float64Array(n * m);
    for (let i = 0; i < n; i++) for (let j = 0; j < m; j++) z[j * n + i] = x[i * m + j]!;
    return z;
  };
  const tall = rows > columns;
  const [n, m] = tall ? [columns, rows] : [rows, columns];
  let x = (tall ? transposed(u, rows, columns) : u).map((v) => v / norm);
  for (let i = 0; i < 5; i++) {
    const a = multiply(x, transposed(x, n, m), n, m, n);
    const square = multiply(a, a, n, n, n);
    const b = a.map((v, e) => -4.775 * v + 2.0315 * square[e]!);
    const bx = multiply(b, x, n, n, m);
    x = x.map((v, e) => 3.4445 * v + bx[e]!);
  }
  return tall ? transposed(x, n, m) : x;
}
