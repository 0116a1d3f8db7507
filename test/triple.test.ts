/** The Gram determinant as a score: what it forgives, what it is blind to, and that its tiles are the dense formula. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gramDeviation, gramFrame } from '../src/geometry/gram.js';
import { Rotary, TripleProductAttention } from '../src/index.js';
import * as F from '../src/ops/index.js';
import { record } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { failureOf } from './support/errors.js';
import { noise, outputOf, sequence } from './support/layers.js';
import { sides } from './support/sides.js';

const floats = (x: Tensor): number[] => [...(x.dataSync() as Float32Array)];

/** The score that the engine gives one key: with nothing beside it, its log-sum-exp. */
function scoreOf(q: number[], r: number[], k: number[]): number {
  return scope(() => {
    const row = (x: number[]) => tensor(Float32Array.from(x), [1, 1, 1, x.length]);
    const { a, b, area } = gramFrame(row(q), row(r));
    const n = k.reduce((sum, x) => sum + Math.fround(x) ** 2, 0);
    const beside = tensor(Float32Array.of(area.dataSync()[0]!, 0, n), [1, 3]);
    const operands = [F.concat([a, b], { axis: -1 }), row(k), row(k), beside];
    const [, lse] = record(F.scoredAttention.op as never, operands, { score: 'gram' }) as Tensor[];
    return lse!.dataSync()[0]!;
  });
}

/** -det Gram(q, k, r) by A times the squared rest of k outside the plane, in Float64. */
function exact(q: number[], r: number[], k: number[]): number {
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const less = (x: number[], e: number[], f: number) => x.map((v, i) => v - f * e[i]!);
  const rest = less(r, q, dot(q, r) / dot(q, q));
  const k1 = less(k, q, dot(k, q) / dot(q, q));
  const k2 = less(k1, rest, dot(k1, rest) / dot(rest, rest));
  return -dot(q, q) * dot(rest, rest) * dot(k2, k2);
}

describe.each(sides)('triple products on $side', ({ options }) => {
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

  const [e1, e2] = [
    [1, 0, 0, 0],
    [0, 1, 0, 0],
  ];
  const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

  it('scores a match 0 and a distractor by minus its squared size, whatever leaks into the dot product', () => {
    const match = [Math.SQRT1_2, Math.SQRT1_2, 0, 0];
    expect(dot(e1, match).toFixed(4)).toBe('0.7071');
    expect(Math.abs(scoreOf(e1, e2, match))).toBeLessThan(5e-5);
    const table = [1, 5, 10, 50, 100].map((size) => {
      const k = [0.1, 0, size, 0];
      return [dot(e1, k), scoreOf(e1, e2, k)];
    });
    for (const [product] of table) expect(product).toBe(0.1);
    table.forEach(([, gram], i) => {
      expect(gram! / -[1, 25, 100, 2500, 10000][i]!).toBeCloseTo(1, 6);
    });
  });

  it('falls with the square of a distractor where the dot product grows with it', () => {
    for (const size of [1, 5, 10, 50, 100]) {
      const k = [0.1 * size, 0, size, 0];
      expect(dot(e1, k)).toBeCloseTo(0.1 * size, 10);
      expect(scoreOf(e1, e2, k) / -(size ** 2)).toBeCloseTo(1, 5);
    }
  });

  it('is blind to short keys, to the sign of a key, to where it lies in the plane, and where q and r are parallel', () => {
    expect(scoreOf(e1, e2, [0, 0, 0.01, 0])).toBeCloseTo(-1e-4, 9);
    const k = [0.3, -0.2, 0.9, 0.1];
    expect(scoreOf(e1, e2, k)).toBe(
      scoreOf(
        e1,
        e2,
        k.map((x) => -x),
      ),
    );
    for (const inPlane of [
      [1, 0, 0, 0],
      [0, 1, 0, 0],
      [-0.6, 0.8, 0, 0],
    ])
      expect(Math.abs(scoreOf(e1, e2, inPlane))).toBeLessThan(1e-6);
    expect(Math.abs(scoreOf(e1, [2, 0, 0, 0], k))).toBeLessThan(1e-6);
  });

  it('is no more than 0, and what the determinant is', () => {
    for (let seed = 0; seed < 40; seed++) {
      const [q, r, k] = [1, 2, 3].map((i) => [...noise(8, 3 * seed + i)]) as [number[], number[], number[]];
      const score = scoreOf(q, r, k);
      expect(score).toBeLessThanOrEqual(0);
      const want = exact(q, r, k);
      expect(Math.abs(score - want)).toBeLessThan(1e-5 * Math.max(1, -want));
    }
  });

  it('computes in tiles what the dense formula says', () =>
    scope(() => {
      const [T, H, D] = [150, 2, 16];
      const rows = (seed: number) => F.rmsNorm(tensor(noise(T * H * D, seed), [1, T, H, D]));
      const [q, r, k, v] = [1, 2, 3, 4].map((seed) => floats(rows(seed))) as number[][];
      const { a, b, area } = gramFrame(rows(1), rows(2));
      const tau = 8 * D ** -3;
      const n = F.sum(F.square(rows(3)), { axis: -1 });
      const ab = F.mul(F.concat([a, b], { axis: -1 }), Math.sqrt(tau));
      const queries = F.concat([F.mul(area, tau), F.mul(area, 0)], { axis: -1 });
      const beside = F.concat([queries.reshape([1, T * H * 2]), n.reshape([1, T * H])], { axis: 1 });
      const got = floats(F.scoredAttention(ab, rows(3), rows(4), beside, { score: 'gram', causal: true }));
      const at = (x: number[], t: number, h: number) => x.slice((t * H + h) * D, (t * H + h + 1) * D);
      let worst = 0;
      for (const i of [0, 1, 63, 64, 149])
        for (let h = 0; h < H; h++) {
          const scores = Array.from(
            { length: i + 1 },
            (_, j) => tau * exact(at(q!, i, h), at(r!, i, h), at(k!, j, h)),
          );
          const weights = scores.map((s) => Math.exp(s - Math.max(...scores)));
          const sum = weights.reduce((x, y) => x + y);
          for (let d = 0; d < D; d++) {
            const want = weights.reduce((o, w, j) => o + (w / sum) * at(v!, j, h)[d]!, 0);
            worst = Math.max(worst, Math.abs(want - got[(i * H + h) * D + d]!));
          }
        }
      expect(worst).toBeLessThan(1e-5);
    }));
});

describe('triple product attention', () => {
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime({ device: 'none' });
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it('begins with scores of random vectors that vary by 1', () => {
    expect([64, 32, 16].map((d) => Math.round(1 / gramDeviation(d)))).toEqual([27, 14, 8]);
    const d = 32;
    const unit = (seed: number) => {
      const x = Array.from({ length: d }, (_, i) => [...noise(12, seed * d + i)].reduce((a, b) => a + b, 0));
      const length = Math.hypot(...x);
      return x.map((v) => v / length);
    };
    const scores = Array.from({ length: 2000 }, (_, i) =>
      exact(unit(3 * i), unit(3 * i + 1), unit(3 * i + 2)),
    );
    const mean = scores.reduce((a, b) => a + b) / scores.length;
    const deviation = Math.sqrt(scores.reduce((a, s) => a + (s - mean) ** 2, 0) / scores.length);
    expect(mean).toBeCloseTo(-(1 - 1 / d) * (1 - 2 / d), 2);
    expect(deviation * (1 / gramDeviation(d))).toBeCloseTo(1, 1);
  });

  it('tells a key from its opposite by the sign channel alone', () =>
    scope(() => {
      const config = { dim: 8, heads: 1, bias: false, causal: false };
      const flipped = (layer: TripleProductAttention) => {
        // The rows of the keys, turned round.
        const weight = layer.qrkv.weight.dataSync() as Float32Array;
        const turned = weight.map((w, i) => (Math.floor(i / 8) >= 16 && Math.floor(i / 8) < 24 ? -w : w));
        layer.loadStateDict({ 'qrkv.weight': tensor(turned, layer.qrkv.weight.shape) }, { strict: false });
      };
      for (const sign of [false, true]) {
        using layer = new TripleProductAttention({ ...config, sign });
        if (sign) layer.loadStateDict({ sign: tensor(Float32Array.of(2), [1]) }, { strict: false });
        const x = sequence(1, 9, 8);
        const one = outputOf(layer, x);
        flipped(layer);
        const two = outputOf(layer, x);
        const apart = Math.max(...one.map((y, i) => Math.abs(y - two[i]!)));
        if (sign) expect(apart).toBeGreaterThan(1e-3);
        else expect(apart).toBe(0);
      }
    }));

  it('is τ times minus the determinant of unit vectors, with the sign channel μ cos(q, k)', () =>
    scope(() => {
      const [T, D, tau, mu] = [6, 8, 5, 0.7];
      using layer = new TripleProductAttention({ dim: D, heads: 1, sign: true, bias: false });
      expect((layer.logScale!.dataSync() as Float32Array)[0]).toBeCloseTo(-Math.log(gramDeviation(D)), 5);
      const state = { logScale: tensor([Math.log(tau)]), sign: tensor([mu]) };
      layer.loadStateDict(state, { strict: false });
      const x = sequence(1, T, D);
      const parts = layer.qrkv.split(layer.qrkv.heads(x)).map(floats) as number[][];
      const [q, r, k, v] = parts.map((part) => (t: number) => part.slice(t * D, (t + 1) * D));
      const unit = (u: number[]) => u.map((e) => e / Math.hypot(...u));
      const o = Array.from({ length: T }, (_, i) => {
        const [a, c] = [unit(q!(i)), unit(r!(i))];
        const weights = Array.from({ length: i + 1 }, (_, j) => {
          const b = unit(k!(j));
          return Math.exp(tau * exact(a, c, b) + mu * a.reduce((s, e, n) => s + e * b[n]!, 0));
        });
        const total = weights.reduce((s, w) => s + w);
        return Array.from({ length: D }, (_, d) =>
          weights.reduce((s, w, j) => s + (w / total) * v!(j)[d]!, 0),
        );
      });
      const want = floats(layer.out.forward(tensor(Float32Array.from(o.flat()), [1, T, D])));
      outputOf(layer, x).forEach((y, i) => {
        expect(Math.abs(y - want[i]!)).toBeLessThan(1e-5);
      });
    }));

  it('gives the logits of the seed under its scale, which no unit vectors go with', async () => {
    using layer = new TripleProductAttention({ dim: 8, heads: 1, scale: 'seed', bias: false });
    expect(layer.logScale).toBeNull();
    const x = noise(2 * 8);
    const rope = new Rotary({ dim: 8 });
    const y = outputOf(layer, tensor(x, [1, 2, 8]), { rope });
    const weight = layer.qrkv.weight.dataSync() as Float32Array;
    const project = (t: number, part: number) =>
      Array.from({ length: 8 }, (_, i) =>
        Array.from({ length: 8 }, (_, c) => weight[(part * 8 + i) * 8 + c]! * x[t * 8 + c]!).reduce(
          (a, b) => a + b,
        ),
      );
    const turn = (v: number[], t: number) =>
      v.map((u, i) => {
        const angle = t * 10000 ** (-(i % 4) / 4);
        return i < 4
          ? u * Math.cos(angle) - v[i + 4]! * Math.sin(angle)
          : u * Math.cos(angle) + v[i - 4]! * Math.sin(angle);
      });
    const [q, r] = [turn(project(1, 0), 1), turn(project(1, 1), 1)];
    const scores = [0, 1].map((t) => exact(q, r, turn(project(t, 2), t)) / 8 ** 1.5);
    const share = 1 / (1 + Math.exp(scores[1]! - scores[0]!));
    const o = project(0, 3).map((v, i) => share * v + (1 - share) * project(1, 3)[i]!);
    const back = layer.out.weight.dataSync() as Float32Array;
    const want = Array.from({ length: 8 }, (_, c) => o.reduce((sum, v, i) => sum + back[c * 8 + i]! * v, 0));
    want.forEach((w, c) => {
      expect(y[8 + c]).toBeCloseTo(w, 5);
    });
    const failure = await failureOf(
      () => new TripleProductAttention({ dim: 8, heads: 1, scale: 'seed', unitNorm: true }),
    );
    expect(failure).toMatchObject({ code: 'ATTN_ARGUMENT' });
    const flat = await failureOf(() => new TripleProductAttention({ dim: 8, heads: 4 }));
    expect(flat).toMatchObject({ code: 'ATTN_ARGUMENT', hint: expect.stringContaining('3') });
  });
});
