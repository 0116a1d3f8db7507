/** Attention without values: its formula, token by token in Float64. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inFloat64 } from '../src/autograd/gradcheck.js';
import { GPT, manualSeed, NoValueAttention, noGrad } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { noise, sequence, worst } from './support/layers.js';
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

const [T, C, H] = [9, 12, 3];
const D = C / H;

describe('attention without values', () => {
  it.each([
    { causal: true, window: 0 },
    { causal: false, window: 0 },
    { causal: true, window: 4 },
  ])('gathers the input by the mean of its heads: $causal, window $window', ({ causal, window }) => {
    const layer = new NoValueAttention({ dim: C, heads: H, causal, window });
    const x = noise(T * C, 4).map((v) => 3 * v);
    const [W, b] = [layer.qk.weight, layer.qk.bias!].map((p) => p.dataSync());
    const row = (t: number, out: number) =>
      b![out]! +
      Array.from({ length: C }, (_, c) => x[t * C + c]! * W![out * C + c]!).reduce((s, v) => s + v, 0);
    const wanted = new Float64Array(T * C);
    for (let t = 0; t < T; t++)
      for (let h = 0; h < H; h++) {
        const seen = Array.from({ length: T }, (_, j) => j).filter(
          (j) => (!causal || j <= t) && (window === 0 || t - j < window),
        );
        const e = seen.map((j) => {
          let dot = 0;
          for (let d = 0; d < D; d++) dot += row(t, h * D + d) * row(j, C + h * D + d);
          return Math.exp(dot / Math.sqrt(D));
        });
        const all = e.reduce((s, v) => s + v, 0);
        seen.forEach((j, i) => {
          for (let c = 0; c < C; c++) wanted[t * C + c]! += ((e[i]! / all) * x[j * C + c]!) / H;
        });
      }
    const got = inFloat64((t) => layer.forward(t), [{ shape: [1, T, C], values: x }]);
    expect(worst(got, wanted)).toBeLessThan(1e-12);
    // The first token of a causal sequence sees itself alone, and gets itself back.
    if (causal) expect(worst(got.subarray(0, C), x.subarray(0, C))).toBeLessThan(1e-12);
  });

  it('is projected where it is asked to be, and has no more parameters than that', () => {
    const [plain, projected] = [false, true].map(
      (project) => new NoValueAttention({ dim: C, heads: H, project }),
    ) as [NoValueAttention, NoValueAttention];
    expect(plain.size).toBe(2 * C * (C + 1));
    expect(projected.size).toBe(3 * C * (C + 1));
    projected.loadStateDict(plain.stateDict(), { strict: false });
    const x = sequence(2, T, C);
    const y = noGrad(() => projected.out.forward(plain.forward(x)).dataSync());
    expect(
      worst(
        noGrad(() => projected.forward(x).dataSync()),
        y,
      ),
    ).toBeLessThan(1e-6);
    const r = sequence(2, T, C, 8);
    const added = noGrad(() => plain.forward(x, { residual: r }).dataSync());
    expect(
      worst(
        added,
        noGrad(() => plain.forward(x).add(r).dataSync()),
      ),
    ).toBeLessThan(1e-6);
  });

  it('multiplies an MLP, one block for all layers', () => {
    const model = new GPT({
      vocab: 7,
      length: 8,
      layers: 4,
      dim: C,
      heads: H,
      block: 'axm',
      shared: true,
      norm: 'plain',
      attention: { kind: 'novalue' },
      attentionScale: H, // the sum over heads
    });
    expect(model.blocks.length).toBe(1);
    expect(model.size).toBe(7 * C + 8 * C + 2 * C * (C + 1) + 4 * C * (C + 1) + C * (4 * C + 1));
  });
});
