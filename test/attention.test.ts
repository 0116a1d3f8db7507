/** What attention promises beyond its reference: rows that see nothing, leaks, decoding, packing, statistics. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attentionStats } from '../src/ops/attention.stats.js';
import * as F from '../src/ops/index.js';
import { record } from '../src/ops/record.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { values } from './support/conformance.js';
import { sides } from './support/sides.js';

const inf = Number.POSITIVE_INFINITY;

describe.each(sides)('attention on $side', ({ options }) => {
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

  const random = (shape: number[], seed: number): Tensor => {
    const like = tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
    return tensor(Float32Array.from(values(like.spec, [-1, 1], seed)), shape);
  };
  const floats = (x: Tensor): number[] => [...(x.dataSync() as Float32Array)];
  const expectNear = (got: number[], want: number[]) => {
    expect(got).toHaveLength(want.length);
    expect(Math.max(...got.map((y, i) => Math.abs(y - want[i]!)))).toBeLessThan(1e-5);
  };
  const gradients = (operands: Tensor[], attrs: object): Tensor[] => {
    const [q, k, v, mask] = operands as [Tensor, Tensor, Tensor, Tensor?];
    const [o, lse] = record(F.attention.op as never, operands, attrs) as [Tensor, Tensor];
    return F.attentionBackward(random([...o.shape], 9), q, k, v, o, lse, mask, attrs);
  };

  it('gives 0 and passes gradients of 0 where a query sees no key, whatever the mask', () =>
    scope(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => random([1, 5, 1, 16], seed)) as [Tensor, Tensor, Tensor];
      const hidden = (row: number, yes: number, no: number) =>
        Array.from({ length: 25 }, (_, n) => (Math.floor(n / 5) === row ? yes : no));
      const masks = [
        tensor(Uint8Array.from(hidden(3, 0, 1)), [1, 1, 5, 5], { dtype: 'bool' }),
        tensor(Float32Array.from(hidden(3, -inf, 0)), [1, 1, 5, 5]),
      ];
      for (const mask of masks) {
        const { out, lse, entropy } = attentionStats(q, k, v, mask);
        expect(floats(out).slice(48, 64)).toEqual(new Array(16).fill(0));
        expect(floats(lse)[3]).toBe(-inf);
        expect(floats(entropy)[3]).toBe(0);
        const [dq, dk, dv] = gradients([q, k, v, mask], {});
        expect(floats(dq!).slice(48, 64)).toEqual(new Array(16).fill(0));
        for (const x of [out, entropy, dq!, dk!, dv!]) expect(floats(x).every(Number.isFinite)).toBe(true);
      }
      const nothing = tensor(new Uint8Array(1), [1, 1, 1, 1], { dtype: 'bool' });
      for (const x of [F.attention(q, k, v, nothing), ...gradients([q, k, v, nothing], {})])
        expect(floats(x).every((y) => y === 0)).toBe(true);
    }));

  it('lets nothing of later keys into a causal query, to the bit', () =>
    scope(() => {
      const [T, H, D, from] = [70, 2, 16, 41];
      const [q, k, v] = [1, 2, 3].map((seed) => random([1, T, H, D], seed)) as [Tensor, Tensor, Tensor];
      const moved = (x: Tensor) =>
        tensor(
          Float32Array.from(floats(x), (y, i) => (i < from * H * D ? y : y * 3 + 1)),
          x.shape,
        );
      const one = floats(F.attention(q, k, v, { causal: true }));
      const two = floats(F.attention(q, moved(k), moved(v), { causal: true }));
      expect(two.slice(0, from * H * D)).toEqual(one.slice(0, from * H * D));
      expect(two.slice(from * H * D)).not.toEqual(one.slice(from * H * D));
    }));

  it('decodes token by token as it computes all at once', () =>
    scope(() => {
      const [T, Hq, Hkv, D] = [20, 4, 2, 16];
      const q = random([1, T, Hq, D], 1);
      const [k, v] = [random([1, T, Hkv, D], 2), random([1, T, Hkv, D], 3)];
      const all = floats(F.attention(q, k, v, { causal: true }));
      const rows = (x: Tensor, from: number, to: number) => F.slice(x, { starts: [0, from], ends: [1, to] });
      for (const t of [0, 1, 12, T - 1]) {
        const step = F.attention(rows(q, t, t + 1), rows(k, 0, t + 1), rows(v, 0, t + 1), { causal: true });
        expectNear(floats(step), all.slice(t * Hq * D, (t + 1) * Hq * D));
      }
    }));

  it('computes packed heads as it does separate ones', () =>
    scope(() => {
      const [T, heads, kvHeads, D] = [33, 4, 2, 16];
      const qkv = random([2, T, heads + 2 * kvHeads, D], 1);
      const part = (from: number, to: number) => F.slice(qkv, { starts: [0, 0, from], ends: [2, T, to] });
      const [q, k, v] = [part(0, 4), part(4, 6), part(6, 8)];
      const whole = floats(F.packedAttention(qkv, { heads, kvHeads, causal: true }));
      expect(whole).toEqual(floats(F.attention(q, k, v, { causal: true })));
      const [o, lse] = record(F.attention.op as never, [q, k, v], { causal: true }) as [Tensor, Tensor];
      const dy = random([2, T, heads, D], 5);
      const joined = F.concat(F.attentionBackward(dy, q, k, v, o, lse, { causal: true }), { axis: 2 });
      const packed = F.packedAttentionBackward(dy, qkv, o, lse, { heads, kvHeads, causal: true });
      expect(floats(packed)).toEqual(floats(joined));
    }));

  it('knows the entropy of rows: ln of their length where all weigh the same, 0 where there is one', () =>
    scope(() => {
      const zero = tensor(new Float32Array(6 * 8), [1, 6, 1, 8]);
      const { lse, entropy } = attentionStats(zero, zero, random([1, 6, 1, 8], 1), undefined, {
        causal: true,
      });
      const logs = Array.from({ length: 6 }, (_, i) => Math.log(i + 1));
      expectNear(floats(entropy), logs);
      expectNear(floats(lse), logs);
      expect(() => attentionStats(zero, zero, zero, undefined, { casual: true } as object)).toThrow('casual');
    }));

  it.each(['dot', 'born', 'gram', 'hyperbolic'] as const)(
    'computes in tiles what the dense formula of the score %s says',
    (score) =>
      scope(() => {
        const [T, Hq, Hkv, D] = [150, 2, 1, 16];
        const unit = (x: Tensor) => F.mul(F.rmsNorm(x), D ** -0.5);
        const draw = (heads: number, seed: number) => unit(random([1, T, heads, D], seed));
        const P = score === 'gram' ? 2 : 1;
        const parts = [draw(Hq, 1), draw(Hq, 4)].slice(0, P);
        const q = F.mul(F.concat(parts, { axis: 3 }), score === 'dot' ? 9 : 1);
        const [k, v] = [draw(Hkv, 2), random([1, T, Hkv, D], 3)];
        // (A, c | n) or (r, β | s), of which radii are from 0 to 4.
        const sides = F.mul(F.add(random([1, T * Hq * 2 + T * Hkv], 5), 1), score === 'hyperbolic' ? 2 : 0.5);
        const attrs = { causal: true } as const;
        const got =
          score === 'dot' || score === 'born'
            ? F.attention(q, k, v, { ...attrs, score })
            : F.scoredAttention(q, k, v, sides, { ...attrs, score });
        const [qs, ks, vs, beside] = [q, k, v, sides].map(floats) as [number[], number[], number[], number[]];
        const want = new Array<number>(T * Hq * D).fill(0);
        for (let i = 0; i < T; i++)
          for (let h = 0; h < Hq; h++) {
            const [first, second] = [0, 1].map((n) => beside[(i * Hq + h) * 2 + n]!) as [number, number];
            const row = (j: number) => (j * Hkv + Math.floor(h / 2)) * D;
            const scores = Array.from({ length: i + 1 }, (_, j) => {
              const [x1, x2] = [0, 1].map((n) =>
                Array.from({ length: D }, (_, d) => d).reduce(
                  (sum, d) => sum + (n < P ? qs[((i * Hq + h) * P + n) * D + d]! * ks[row(j) + d]! : 0),
                  0,
                ),
              ) as [number, number];
              const own = beside[T * Hq * 2 + j * Hkv + Math.floor(h / 2)]!;
              if (score === 'dot') return x1 / Math.sqrt(D);
              if (score === 'born') return Math.log(x1 ** 2 + 1e-6);
              if (score === 'gram') return Math.min(0, x1 ** 2 + x2 ** 2 - first * own) + second * x1;
              const half = Math.sinh((first - own) / 2) ** 2;
              const apart = (Math.sinh(first) * Math.sinh(own) * (1 - x1)) / 2;
              return -second * 2 * Math.asinh(Math.sqrt(half + apart));
            });
            const weights = scores.map((s) => Math.exp(s - Math.max(...scores)));
            const total = weights.reduce((a, b) => a + b);
            weights.forEach((w, j) => {
              for (let d = 0; d < D; d++) want[(i * Hq + h) * D + d]! += (w / total) * vs[row(j) + d]!;
            });
          }
        expectNear(floats(got), want);
      }),
  );

  it('keeps scores beyond the range of exp apart, and a NaN in its own row', () =>
    scope(() => {
      const q = tensor(
        Float32Array.from({ length: 4 * 8 }, (_, i) => (i === 17 ? Number.NaN : 100)),
        [1, 4, 1, 8],
      );
      const k = random([1, 4, 1, 8], 2);
      const out = floats(F.attention(q, F.mul(k, 100), random([1, 4, 1, 8], 3)));
      expect(out.map(Number.isFinite)).toEqual(out.map((_, i) => Math.floor(i / 8) !== 2));
    }));

  it('gives the same bits at every run', () =>
    scope(() => {
      const [q, k, v] = [1, 2, 3].map((seed) => random([1, 600, 1, 16], seed)) as [Tensor, Tensor, Tensor];
      const run = () => [F.attention(q, k, v), ...gradients([q, k, v], {})].map(floats);
      expect(run()).toEqual(run());
    }));
});
