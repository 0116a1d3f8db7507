/** Simplicial attention: that pairs of keys count, positions by rotation, windows, and what decoding remembers. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { simplicialKind } from '../src/attention/simplicial.js';
import { noGrad, Rotary, rope, ropeTable, simplicialStats } from '../src/index.js';
import { simplicialAttention } from '../src/ops/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { layerOf, noise, outputOf, sequence } from './support/layers.js';
import { sides } from './support/sides.js';

const heads = (T: number, D: number, seed: number, H = 1) => tensor(noise(T * H * D, seed), [1, T, H, D]);
const operands = (T: number, D: number, Tq = T) =>
  [heads(Tq, D, 1), ...[2, 3, 4, 5].map((seed) => heads(T, D, seed))] as [
    Tensor,
    Tensor,
    Tensor,
    Tensor,
    Tensor,
  ];
const numbers = (t: Tensor) => [...(t.dataSync() as Float32Array)];
const apart = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, v, i) => Math.max(most, Math.abs(v - b[i]!)), 0);

describe.each(sides)('simplicial attention on $side', ({ options }) => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  /**
   * Match3: is there for token i a pair (j, k) with x_i + x_j + x_k = 0 modulo M? One head of five channels decides it:
   * cos(a + b + c) is a trilinear form in (cos, sin) of a, b and c, largest at a sum of 0; a token before all others
   * offers a pair of itself whose score lies between that and the next, and whose values are 0.
   */
  it('decides with five channels whether any three tokens add up to 0', () => {
    const [M, T, steep] = [31, 24, 20000];
    const layer = layerOf(simplicialKind, {
      ...{ dim: 4, heads: 1, headDim: 5, score: 'trilinear', causal: false, bias: false },
      ...{ w1: T + 1, w2: T + 1 },
    });
    // Channels of a token: cos, sin, whether it is one of the sequence, whether it is the one before.
    const between = Math.sqrt((1 + Math.cos((2 * Math.PI) / M)) / 2);
    const [cos, sin, real] = [
      [1, 0, 0, 0],
      [0, 1, 0, 0],
      [0, 0, 1, 0],
    ] as const;
    const times = (f: number, row: readonly number[]) => row.map((v) => f * v);
    const q = [cos, times(-1, cos), times(-1, sin), times(-1, sin), real].map((row) => times(steep, row));
    const first = [0, 0, 0, between];
    const k = [cos, sin, cos, sin, first];
    const k2 = [cos, sin, sin, cos, first];
    const real5 = new Array<readonly number[]>(5).fill(real);
    const out = [[1, 0, 0, 0, 0], ...new Array<readonly number[]>(3).fill([0, 0, 0, 0, 0])];
    const weights = { q, k, k2, v: real5, v2: real5, out };
    layer.loadStateDict(
      Object.fromEntries(
        Object.entries(weights).map(([name, rows]) => [
          `${name}.weight`,
          tensor(Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]),
        ]),
      ),
    );
    const counts = [0, 0];
    for (const [seed, length] of [4, 5, 6, 7, T].entries()) {
      const x = noise(length, seed + 3).map((v) => Math.floor(((v + 1) / 2) * M));
      const rows = [[0, 0, 0, 1]];
      for (const v of x) rows.push([Math.cos((2 * Math.PI * v) / M), Math.sin((2 * Math.PI * v) / M), 1, 0]);
      const y = outputOf(layer, tensor(Float32Array.from(rows.flat()), [1, length + 1, 4]));
      x.forEach((a, i) => {
        const match = x.some((b) => x.some((c) => (a + b + c) % M === 0));
        counts[Number(match)]!++;
        expect(y[4 * (i + 1)]!).toBeCloseTo(Number(match), 4);
      });
    }
    expect(Math.min(...counts)).toBeGreaterThan(5); // both answers occurred
  });

  it('computes in tiles what the dense formula says, with heads of keys for two of queries each', () => {
    const [T, H, D, w1, w2] = [70, 4, 6, 33, 9];
    const [q, ...keys] = [1, 2, 3, 4, 5].map((seed) => heads(T, D, seed, seed === 1 ? H : 2));
    const all = [q, ...keys] as ReturnType<typeof operands>;
    const [qs, ks, vs, k2s, v2s] = all.map(numbers) as [number[], number[], number[], number[], number[]];
    const got = numbers(simplicialAttention(...all, { w1, w2, score: 'trilinear' }));
    const want = new Array<number>(T * H * D).fill(0);
    const channels = Array.from({ length: D }, (_, d) => d);
    for (let i = 0; i < T; i++)
      for (let h = 0; h < H; h++) {
        const row = (j: number) => (j * 2 + Math.floor(h / 2)) * D;
        const seen = (w: number) => Array.from({ length: Math.min(w, i + 1) }, (_, n) => i - n);
        let total = 0;
        for (const a of seen(w1))
          for (const b of seen(w2)) {
            const score = channels.reduce(
              (s, d) => s + qs[(i * H + h) * D + d]! * ks[row(a) + d]! * k2s[row(b) + d]!,
              0,
            );
            const weight = Math.exp(score / Math.sqrt(D));
            total += weight;
            for (const d of channels)
              want[(i * H + h) * D + d]! += weight * vs[row(a) + d]! * v2s[row(b) + d]!;
          }
        for (const d of channels) want[(i * H + h) * D + d]! /= total;
      }
    expect(apart(got, want)).toBeLessThan(1e-5);
  });

  it('weighs all pairs of equal scores alike', () => {
    const [T, w1, w2] = [12, 5, 3];
    const [, k, v, k2, v2] = operands(T, 6);
    const q = tensor(new Float32Array(T * 6), [1, T, 1, 6]);
    const { out, lse, entropy } = simplicialStats([q, k, v, k2, v2], undefined, { w1, w2 });
    const [values, seconds, o] = [v, v2, out].map(numbers) as [number[], number[], number[]];
    const mean = (x: number[], w: number, i: number, d: number) => {
      const from = Math.max(0, i - w + 1);
      let sum = 0;
      for (let j = from; j <= i; j++) sum += x[j * 6 + d]!;
      return sum / (i + 1 - from);
    };
    for (let i = 0; i < T; i++) {
      const pairs = Math.log(Math.min(i + 1, w1) * Math.min(i + 1, w2));
      expect(numbers(lse)[i]!).toBeCloseTo(pairs, 5);
      expect(numbers(entropy)[i]!).toBeCloseTo(pairs, 5);
      for (let d = 0; d < 6; d++)
        expect(o[i * 6 + d]!).toBeCloseTo(mean(values, w1, i, d) * mean(seconds, w2, i, d), 5);
    }
  });

  it('of one second key is attention with a query of its own for each position', () => {
    // w2 = 1: the second key is the query's own, so that the scores are (q ∘ k2) · k.
    const [T, D] = [9, 8];
    const [q, k, v, k2, v2] = operands(T, D);
    const o = numbers(simplicialAttention(q, k, v, k2, v2, { w1: T, w2: 1 }));
    const plain = numbers(q.mul(k2).attention(k, v, undefined, { causal: true }).mul(v2));
    expect(apart(o, plain)).toBeLessThan(1e-6);
  });

  it('reaches as far as there are keys, whatever the windows', () => {
    const T = 10;
    const all = operands(T, 8);
    const full = numbers(simplicialAttention(...all, { w1: T, w2: T }));
    expect(numbers(simplicialAttention(...all, { w1: 100, w2: 1000 }))).toEqual(full);
    const few = operands(T, 8, 3);
    const last = numbers(simplicialAttention(...few, { w1: 4, w2: 2 }));
    // Three queries at the end of ten keys see what they see among the last six.
    const cut = few.map((t, i) => (i === 0 ? t : t.slice({ starts: [0, 4] }))) as typeof few;
    expect(apart(numbers(simplicialAttention(...cut, { w1: 4, w2: 2 })), last)).toBeLessThan(1e-6);
  });

  it('scores by determinants that a common rotation leaves as they are, unlike the trilinear form', () => {
    const [T, D] = [11, 12];
    const [q, k, v, k2, v2] = operands(T, D);
    const angles = ropeTable({ length: 40, dim: 8, theta: 3 });
    const places = tensor(new Int32Array(T).fill(17), [T]);
    const turned = [q, k, k2].map((t) => rope(t, angles, places)) as [Tensor, Tensor, Tensor];
    for (const score of ['determinant', 'trilinear'] as const) {
      const attrs = { w1: 6, w2: 4, score, scale: 1 };
      const before = numbers(simplicialAttention(q, k, v, k2, v2, attrs));
      const after = numbers(simplicialAttention(turned[0], turned[1], v, turned[2], v2, attrs));
      if (score === 'determinant') expect(apart(before, after)).toBeLessThan(2e-6);
      else expect(apart(before, after)).toBeGreaterThan(0.01);
    }
  });

  it('depends on relative places alone where it is turned by a rope', () => {
    const [T, C] = [9, 24];
    const layer = layerOf(simplicialKind, { dim: C, heads: 2, kvHeads: 1, w1: 5, w2: 4 });
    const rotary = new Rotary({ dim: layer.rotaryDim, theta: 50, length: 128 });
    const x = sequence(1, T, C);
    const at = (first: number) =>
      outputOf(layer, x, {
        rope: rotary,
        positions: tensor(
          Int32Array.from({ length: T }, (_, t) => first + t),
          [T],
        ),
      });
    expect(apart(at(0), at(100))).toBeLessThan(1e-5);
    const stretched = outputOf(layer, x, {
      rope: rotary,
      positions: tensor(
        Int32Array.from({ length: T }, (_, t) => 2 * t),
        [T],
      ),
    });
    expect(apart(at(0), stretched)).toBeGreaterThan(1e-4);
  });

  it('remembers no more than the windows reach', () => {
    const config = { dim: 16, heads: 4, kvHeads: 2, w1: 6, w2: 3 };
    const layer = layerOf(simplicialKind, config);
    using cache = layer.newCache(2);
    const token = 2 * 4 * 2 * 4 * 4; // batch, k v k2 v2, heads, channels, bytes
    for (let t = 0; t < 40; t++) {
      noGrad(() => layer.forward(sequence(2, t === 0 ? 20 : 1, 16, t + 1), { cache })).dispose();
      expect(cache.bytes).toBeLessThanOrEqual(6 * token);
    }
    expect(cache.length).toBe(59);
  });
});

describe('simplicial attention', () => {
  it('refuses windows of nothing and ropes that do not fit its chunks', async () => {
    const refuses = async (fn: () => unknown, says: RegExp) =>
      expectTyped(await failureOf(fn), { code: 'ATTN_ARGUMENT', says });
    const [q, k, v, k2, v2] = operands(4, 8);
    await refuses(() => simplicialAttention(q, k, v, k2, v2, { w1: 0 }), /simplicial_attention\(\).*w1 is 0/);
    await refuses(() => simplicialAttention(q, k, v, k2, v2, { w2: -1 }), /w2 is -1/);
    const make = (more: object) => () => layerOf(simplicialKind, { dim: 12, heads: 2, ...more });
    await refuses(make({ w1: 0 }), /SimplicialAttention\(\).*w1 is 0/);
    await refuses(make({ w2: 0 }), /SimplicialAttention\(\).*w2 is 0/);
    await refuses(make({ score: 'dot' }), /score is 'dot'/);
    await refuses(make({ headDim: 2 }), /headDim is 2/);
    const layer = make({})();
    await refuses(
      () => layer.forward(sequence(1, 3, 12), { rope: new Rotary({ dim: 2 }) }),
      /turns 2 channels/,
    );
    const neighbours = new Rotary({ dim: 4, interleaved: true });
    await refuses(() => layer.forward(sequence(1, 3, 12), { rope: neighbours }), /in neighbours/);
  });
});
