/** Adaptive tiles: the result does not depend on them, and their figures are those of attention computed by hand. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attentionKind } from '../src/attention/registry.js';
import { adaptation, divergence, resolutionOf, tileFor, tilesOf } from '../src/attention/shared/tiling.js';
import type { QuantumGeometricAttention } from '../src/attention/tiled.js';
import { born, density, partialTrace, prepare, vonNeumann } from '../src/geometry/quantum.js';
import { attentionStats, manualSeed, noGrad, Rotary, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { layerOf, noise, outputOf, sequence, withParameters, worst } from './support/layers.js';
import { sides } from './support/sides.js';

const [B, T, C] = [2, 21, 16];
const base = { dim: C, heads: 4, minTile: 1, maxTile: 64, tileSize: 4 };
const make = (more: object = {}) =>
  layerOf(attentionKind('tiled'), { ...base, ...more }) as QuantumGeometricAttention;

describe.each(sides)('tiles on $side', ({ side, options }) => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each([
    {},
    { score: 'born' },
    { kvHeads: 2, window: 5 },
    { alibi: true },
    { causal: false },
    { causal: false, window: 3, score: 'born' },
  ])('the result does not depend on them: %j', (more) => {
    const layer = make(more);
    const rope = new Rotary({ dim: 4 });
    const mask = tensor(
      Uint8Array.from({ length: B * T }, (_, i) => Number(i !== 3 && i < B * T - 2)),
      [B, T],
      { dtype: 'bool' },
    );
    const run = (tile: number) => {
      layer.tile = tile;
      const x = sequence(B, T, C);
      const y = layer.forward(x, { rope, mask });
      for (const p of layer.parameters()) p.grad = null;
      sum(y.mul(sequence(B, T, C, 2))).backward();
      return [y, ...layer.parameters().map((p) => p.grad!)].map((t) => t.dataSync() as Float32Array);
    };
    const wanted = run(64);
    for (const tile of side === 'cpu' ? [1, 4, 7, 16] : [5]) {
      const got = run(tile);
      expect(worst(got[0]!, wanted[0]!)).toBeLessThan(1e-6);
      got.forEach((g, i) => {
        expect(worst(g, wanted[i]!) / Math.max(1, ...wanted[i]!.map(Math.abs))).toBeLessThan(2e-6);
      });
    }
  });

  it.runIf(side === 'cpu')('nor where keys fill many blocks of the engine', () => {
    const x = sequence(1, 700, 64);
    for (const score of ['dot', 'born']) {
      const layer = make({ dim: 64, heads: 2, score, maxTile: 700 });
      const [wanted, ...others] = [700, 32, 60, 256].map((tile) => {
        layer.tile = tile;
        return outputOf(layer, x);
      });
      for (const y of others) expect(worst(y, wanted!)).toBeLessThan(1e-6);
    }
  });

  it('with products as scores it is flash', () => {
    const flash = layerOf(attentionKind('flash'), { dim: C, heads: 4 });
    const x = sequence(B, T, C);
    const tiled = make();
    const y = withParameters(tiled, flash.parameters(), () => outputOf(tiled, x));
    expect(worst(y, outputOf(flash, x))).toBeLessThan(1e-6);
  });

  it('Born weights are the probabilities of measuring a query in its keys: ln 2 for a Bell state', async () => {
    const bell = prepare([1, 0, 0, 1]);
    const psi = prepare([0.3, -0.5, 0.1, 0.9]);
    const basis = [0, 1, 2, 3].map((k) => [0, 1, 2, 3].map((i) => Number(i === k)));
    const q = tensor([...bell.re, ...psi.re], [1, 2, 1, 4]);
    const k = tensor(basis.flat(), [1, 4, 1, 4]);
    const { out, entropy } = attentionStats(q, k, k, undefined, { score: 'born' });
    const weights = await out.data();
    [bell, psi].forEach((state, row) => {
      born(state).forEach((p, i) => {
        expect(Math.abs(weights[row * 4 + i]! - p)).toBeLessThan(5e-6);
      });
    });
    const [h] = await entropy.data();
    const entanglement = vonNeumann(partialTrace(density(bell), [2, 2], [0]));
    expect(entanglement).toBeCloseTo(Math.LN2, 14);
    expect(Math.abs(h! - entanglement)).toBeLessThan(5e-5); // ε = 1e-6 of each of the others
  });

  it('figures of uniform attention are those of theory', async () => {
    const layer = make();
    const zeros = layer.parameters().map((p) => tensor(new Float32Array(p.size), p.shape));
    const n = Math.ceil(T / 4);
    await withParametersAsync(layer, zeros, async () => {
      noGrad(() => layer.forward(sequence(B, T, C)));
      const m = await layer.get_metrics();
      const rows = Array.from({ length: T }, (_, i) => i + 1);
      const H = rows.reduce((s, i) => s + Math.log(i), 0) / T;
      expect(m.entropy).toBeCloseTo(H, 5);
      expect(m.density).toBeCloseTo(Math.exp(H) / T, 5);
      const own = rows.reduce((s, i) => s + (((i - 1) % 4) + 1) / i, 0) / T;
      expect(m.flow).toBeCloseTo(1 - own, 5);
      expect(m.tiles).toBe(n);
      expect(m.skipped).toBe((n * (n - 1)) / 2);
      expect(m.edges).toBe(1); // 4 of at most 21 keys hold more than 1/21
      expect(m.stability).toBe(1);
      expect(m.ms).toBeNull();
      expect(m.tile).toBe(4);
      expect(m.ifq).toBeCloseTo((1 + m.flow + 1 + m.density) / 4, 12);
      const cost = (n * (n + 1)) / 2 / n ** 2;
      expect(m.cer).toBeCloseTo((m.flow * m.density * (4 / 6)) / (0.5 * cost + 0.5 * m.entropy), 10);
      expect(m.ae).toBe(0.5);
      expect(m.bytes).toBe(4 * B * C * (2 * 4 + 2 * 20)); // the fifth tile: 4 queries, 20 keys
    });
  });

  it('figures are those of the weights, with windows, padding, grouped keys and a past', async () => {
    for (const more of [{ window: 6, kvHeads: 2 }, { causal: false }, { score: 'born' }]) {
      const layer = make(more);
      const x = sequence(B, T, C);
      const m = await layer.get_metrics(x);
      // The weights by the identity as values.
      const qkv = noGrad(() => layer.qkv.heads(x).dataSync()) as Float32Array;
      const { heads, kvHeads, headDim: D, window, causal } = layer.config;
      const all = heads + 2 * kvHeads;
      const at = (b: number, t: number, h: number) =>
        qkv.subarray(((b * T + t) * all + h) * D, ((b * T + t) * all + h + 1) * D);
      let [entropy, own] = [0, 0];
      const mass = new Map<string, number>();
      for (let b = 0; b < B; b++)
        for (let h = 0; h < heads; h++)
          for (let i = 0; i < T; i++) {
            const q = at(b, i, h);
            const scores = Array.from({ length: T }, (_, j) => {
              const seen = (!causal || j <= i) && (window === 0 || Math.abs(j - i) < window);
              if (!seen) return Number.NEGATIVE_INFINITY;
              const k = at(b, j, heads + Math.floor((h * kvHeads) / heads));
              const dot = q.reduce((s, v, c) => s + v * k[c]!, 0);
              if (layer.config.score === 'dot') return dot / Math.sqrt(D);
              return Math.log((dot / Math.hypot(...q) / Math.hypot(...k)) ** 2 + 1e-6);
            });
            const top = Math.max(...scores);
            const total = scores.reduce((s, v) => s + Math.exp(v - top), 0);
            scores.forEach((v, j) => {
              const p = Math.exp(v - top) / total;
              if (p > 0) entropy -= (p * Math.log(p)) / (B * heads * T);
              const [a, c] = [Math.floor(i / 4), Math.floor(j / 4)];
              if (a === c) own += p / (B * heads * T);
              const rows = Math.min(4, T - 4 * a);
              mass.set(`${a},${c}`, (mass.get(`${a},${c}`) ?? 0) + p / (B * heads * rows));
            });
          }
      expect(m.entropy).toBeCloseTo(entropy, 4);
      expect(m.flow).toBeCloseTo(1 - own, 4);
      const n = Math.ceil(T / 4);
      const computed = [...Array(n).keys()].flatMap((a) =>
        [...Array(n).keys()].filter((c) => {
          const first = window ? Math.floor(Math.max(0, 4 * a - window + 1) / 4) : 0;
          return causal ? c >= first && c <= a : true;
        }),
      ).length;
      expect(m.skipped).toBe(n * n - computed);
      const used = [...mass.values()].filter((v) => v > 1 / T).length;
      expect(m.edges).toBeCloseTo(used / computed, 10);
      expect(m.ms).toBeGreaterThan(0);
    }
  });

  it('tiles follow the density by the count of calls, and training repeats', async () => {
    const run = (wait: boolean) => async () => {
      manualSeed(1);
      const layer = make({ tileSize: 32, minTile: 2 });
      const tiles: number[] = [];
      for (let call = 0; call < 24; call++) {
        sum(layer.forward(sequence(1, 8 + call, C, call))).backward();
        if (wait) await runtime.sync();
        tiles.push(layer.tile);
      }
      return { tiles, grads: layer.parameters().map((p) => p.grad!.dataSync()) };
    };
    const [first, second] = [await run(true)(), await run(false)()];
    expect(second).toEqual(first);
    expect(new Set(first.tiles.slice(0, 4))).toEqual(new Set([32]));
    expect(first.tiles[4]).toBe(16); // nearly uniform: 0.47 of 8 keys
    expect(new Set(first.tiles.slice(4, 20)).size).toBe(1);
    const fixed = make({ adapt: false });
    for (let call = 0; call < 6; call++) outputOf(fixed, sequence(1, 8, C));
    expect(fixed.tile).toBe(4);
  });

  it('drift shows in stability', async () => {
    const layer = make();
    const x = sequence(1, T, C);
    await layer.get_metrics(x);
    expect((await layer.get_metrics(x)).stability).toBeCloseTo(1, 6);
    const loud = tensor(
      noise(T * C, 9).map((v) => 30 * v),
      [1, T, C],
    );
    const m = await layer.get_metrics(loud);
    expect(m.stability).toBeLessThan(0.999);
    expect(m.stability).toBeGreaterThan(0);
    expect(m.resolutions.length).toBe(3);
  });

  it('NaN leaves the tile as it is, and nothing measured says so', async () => {
    const layer = make();
    expectTyped(await failureOf(() => layer.get_metrics()), { code: 'ATTN_ARGUMENT' });
    expectTyped(await failureOf(() => layer.get_metrics([1] as never)), { code: 'ATTN_ARGUMENT' });
    expectTyped(await failureOf(() => layer.get_metrics(sequence(0, T, C))), { code: 'ATTN_SHAPE' });
    const values = noise(T * C);
    values[0] = Number.NaN;
    for (let call = 0; call < 6; call++) outputOf(layer, tensor(values, [1, T, C]));
    expect(layer.tile).toBe(4);
    expect((await layer.get_metrics()).density).toBeNaN();
    layer.dispose();
  });
});

describe('tiling', () => {
  it('cuts, chooses and judges', () => {
    expect(tilesOf(7, 3)).toEqual([[0, 3], [3, 6], [6, 7]]); // biome-ignore format: one line
    const bounds = { min: 16, max: 256 };
    expect([0, 0.25, 0.5, 0.75, 1, 2].map((d) => tileFor(d, bounds))).toEqual([256, 128, 64, 32, 16, 16]);
    expect(tileFor(0.4, { min: 48, max: 48 })).toBe(48);
    expect([16, 64, 256].map((t) => resolutionOf(t, bounds))).toEqual([1, 0.5, 0]);
    expect(divergence([1, 0], [0, 3])).toBeCloseTo(Math.LN2, 14);
    expect(divergence([1, 2], [2, 4])).toBe(0);
    expect(adaptation([0.5], [1])).toBe(0.5);
    expect(adaptation([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])).toBe(1);
    expect(adaptation([0, 0], [0, 1])).toBeCloseTo((0.5 + 1 + 0) / 3, 14);
    expect(adaptation([0, 1], [0, 1])).toBeCloseTo((1 + 0 + 1) / 3, 14);
  });

  it('refuses bounds that leave no tile', async () => {
    for (const more of [
      { minTile: 128, maxTile: 64 },
      { tileSize: 500 },
      { tileSize: 0 },
      { score: 'cosine' },
      { kvHeads: 3 },
    ])
      expectTyped(await failureOf(() => make(more)), {
        code: 'ATTN_ARGUMENT',
        op: 'QuantumGeometricAttention',
      });
    expectTyped(
      await failureOf(() => {
        make().tile = 65;
      }),
      { code: 'ATTN_ARGUMENT' },
    );
  });
});

async function withParametersAsync(
  layer: QuantumGeometricAttention,
  values: readonly Tensor[],
  fn: () => Promise<void>,
): Promise<void> {
  // What is asynchronous reads no parameters: the forward pass has run when fn first waits.
  await withParameters(layer, values, fn);
}
