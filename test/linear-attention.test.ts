/** What the kinds of linear time promise beyond the contract: segments, exact causality, features that estimate softmax. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attentionKind } from '../src/attention/registry.js';
import { orthogonalRows } from '../src/attention/shared/orthogonal.js';
import {
  type GatedLinearAttention,
  type LinearAttention,
  linearAttention,
  Rotary,
  sum,
} from '../src/index.js';
import { linearAttentionBackward } from '../src/ops/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { layerOf, noise, outputOf, sequence, worst } from './support/layers.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
});
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

const floats = (x: Tensor) => x.dataSync() as Float32Array;

describe('linear attention', () => {
  it('goes on where a state left off, and gradients flow back through it', () => {
    const [T, cut, H, D] = [41, 19, 2, 8];
    const draw = (seed: number, length = T) => tensor(noise(length * H * D, seed), [1, length, H, D]);
    const fade = (seed: number) =>
      tensor(
        noise(T * H * D, seed).map((v) => v / 4 - 0.3),
        [1, T, H, D],
      );
    const state = tensor(noise(H * D * D, 9), [1, H, D, D]);
    const all = [draw(1), draw(2), draw(3), state, fade(4)] as const;
    const part = (x: Tensor, from: number, to: number) => x.slice({ starts: [0, from], ends: [1, to] });
    const ran = (from: number, to: number, before: Tensor) => {
      const [q, k, v, , decay] = all.map((x, i) => (i === 3 ? x : part(x, from, to)));
      return linearAttention(q!, k!, v!, before, decay!);
    };
    const [o, last] = linearAttention(...all);
    const [first, between] = ran(0, cut, state);
    const [second, end] = ran(cut, T, between);
    expect(worst(floats(last), floats(end))).toBeLessThan(1e-6);
    expect(worst(floats(o), [...floats(first), ...floats(second)])).toBeLessThan(1e-6);

    const [dy, dlast] = [draw(5), tensor(noise(H * D * D, 6), [1, H, D, D])];
    const whole = linearAttentionBackward(dy, dlast, ...all);
    const back = (from: number, to: number, after: Tensor, before: Tensor) => {
      const [q, k, v, , decay] = all.map((x, i) => (i === 3 ? x : part(x, from, to)));
      return linearAttentionBackward(part(dy, from, to), after, q!, k!, v!, before, decay!);
    };
    const late = back(cut, T, dlast, between);
    const early = back(0, cut, late[3], state);
    expect(worst(floats(whole[3]), floats(early[3]))).toBeLessThan(1e-5);
    for (const i of [0, 1, 2, 4])
      expect(worst(floats(whole[i]!), [...floats(early[i]!), ...floats(late[i]!)])).toBeLessThan(1e-5);
  });

  it('lets not even a NaN of a later token through, nor overflows where decays are strong', () => {
    const [T, D] = [40, 8];
    const draw = (seed: number) => noise(T * D, seed);
    const run = (spoilt: number, decay: number) => {
      const inputs = [1, 2, 3].map((seed) => {
        const values = draw(seed);
        for (let i = spoilt * D; i < T * D; i++) values[i] = Number.NaN;
        return tensor(values, [1, T, 1, D]);
      }) as [Tensor, Tensor, Tensor];
      const decays = tensor(new Float32Array(T * D).fill(decay), [1, T, 1, D]);
      return floats(linearAttention(...inputs, tensor(new Float32Array(D * D), [1, 1, D, D]), decays)[0]);
    };
    for (const decay of [0, -0.1, -90, Number.NEGATIVE_INFINITY]) {
      const clean = run(T, decay);
      expect(clean.every(Number.isFinite)).toBe(true);
      for (const spoilt of [1, 15, 21, 33])
        expect(run(spoilt, decay).subarray(0, spoilt * D)).toEqual(clean.subarray(0, spoilt * D));
    }
  });

  it.each(['linear', 'performer', 'gla'])('%s: stretches are the whole, forward and backward', (name) => {
    const kind = attentionKind(name);
    const rope = new Rotary({ dim: 4 });
    const mask = tensor(
      Uint8Array.from({ length: 26 }, (_, i) => Number(i !== 3 && i < 22)),
      [2, 13],
      { dtype: 'bool' },
    );
    const run = (segment: number) => {
      const layer = layerOf(kind, { dim: 16, heads: 4, segment });
      const y = layer.forward(sequence(2, 13, 16), { rope, mask });
      sum(y.mul(sequence(2, 13, 16, 2))).backward();
      return [y, ...layer.parameters().map((p) => p.grad!)].map(floats);
    };
    const [whole, parts] = [run(0), run(5)];
    whole.forEach((values, i) => {
      expect(worst(values, parts[i]!)).toBeLessThan(2e-5);
    });
  });
});

/** What the layers say they compute, one token after the other in Float64, from their own projections. */
describe('layers of linear time are their formula', () => {
  const [T, C, H, D] = [9, 12, 2, 6];
  const x = () => sequence(1, T, C);
  const sigmoid = (v: number) => 1 / (1 + Math.exp(-v));
  /** o_t of each head from S_t = α_t S_{t-1} + k_t v_tᵀ, o_t = S_tᵀ q_t. */
  const states = (
    q: Float32Array,
    k: Float32Array,
    v: Float32Array,
    fade: (t: number, c: number) => number,
  ) => {
    const o = new Float64Array(T * H * D);
    const S = new Float64Array(H * D * D);
    for (let t = 0; t < T; t++)
      for (let h = 0; h < H; h++) {
        const at = (t * H + h) * D;
        for (let i = 0; i < D; i++)
          for (let j = 0; j < D; j++) {
            const e = (h * D + i) * D + j;
            S[e] = fade(t, h * D + i) * S[e]! + k[at + i]! * v[at + j]!;
            o[at + j]! += q[at + i]! * S[e]!;
          }
      }
    return o;
  };
  const back = (layer: object, o: Float64Array) => {
    const { out } = layer as { out: { forward(x: Tensor): Tensor } };
    return floats(out.forward(tensor(Float32Array.from(o), [1, T, H * D])));
  };

  it('linear: φ = elu + 1, turned in the numerator alone', () => {
    const layer = layerOf(attentionKind('linear'), { dim: C, heads: H });
    const rope = new Rotary({ dim: D, theta: 20 });
    const { qkv } = layer as unknown as LinearAttention;
    const packed = qkv.heads(x());
    const values = floats(packed);
    const plain = values.map((v, e) =>
      Math.floor(e / D) % (3 * H) < 2 * H ? (v > 0 ? v + 1 : Math.exp(v)) : v,
    );
    const parts = (all: Float32Array) =>
      [0, 1, 2].map((part) => all.filter((_, e) => Math.floor(e / D / H) % 3 === part));
    const [q, k, v] = parts(plain) as [Float32Array, Float32Array, Float32Array];
    const [qt, kt] = parts(floats(rope.apply(tensor(plain, packed.shape), { heads: 2 * H })));
    const over = states(qt!, kt!, v, () => 1);
    const under = states(q, k, new Float32Array(v.length).fill(1), () => 1);
    const want = back(layer, over.map((o, e) => o / (under[e]! + 1e-6))); // biome-ignore format: one call
    expect(worst(outputOf(layer, x(), { rope }), want)).toBeLessThan(1e-5);
  });

  it.each([true, false])(
    'gla: decays to the power 1/16, a norm of each head, gate %j, padding that does not fade',
    (gate) => {
      const layer = layerOf(attentionKind('gla'), { dim: C, heads: H, rank: 3, gate });
      const gla = layer as unknown as GatedLinearAttention;
      const kept = Array.from({ length: T }, (_, t) => t !== 4);
      const [q, k, v] = gla.qkv.split(gla.qkv.heads(x())).map(floats) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const logits = floats(gla.decay.forward(gla.narrow.forward(x())));
      const own = k.map((u, e) => (kept[Math.floor(e / H / D)] ? u : 0));
      const o = states(q, own, v, (t, c) => (kept[t] ? sigmoid(logits[t * H * D + c]!) ** (1 / 16) : 1));
      const opened = gla.gate && floats(gla.gate.forward(x()));
      const want = o.map((u, e) => {
        const from = e - (e % D);
        const square = o.subarray(from, from + D).reduce((s, w) => s + w * w, 0) / D;
        return (u / Math.sqrt(square + 1e-6)) * (opened ? opened[e]! * sigmoid(opened[e]!) : 1);
      });
      const mask = tensor(Uint8Array.from(kept, Number), [1, T], { dtype: 'bool' });
      expect(worst(outputOf(layer, x(), { mask }), back(layer, want))).toBeLessThan(1e-5);
    },
  );
});

it('kinds of linear time refuse what is out of range, by name', async () => {
  const wrong: [kind: string, own: object, says: RegExp][] = [
    ['performer', { features: 0 }, /PerformerAttention\(\).*features is 0.*1 to 256/s],
    ['performer', { features: 257 }, /PerformerAttention\(\).*features is 257.*1 to 256/s],
    ['performer', { seed: -1 }, /PerformerAttention\(\).*seed is -1/],
    ['gla', { rank: 0 }, /GatedLinearAttention\(\).*rank is 0/],
    ['linear', { segment: -1 }, /LinearAttention\(\).*segment is -1/],
    ['linear', { segment: 1.5 }, /LinearAttention\(\).*segment is 1.5/],
  ];
  for (const [kind, own, says] of wrong)
    expectTyped(await failureOf(() => layerOf(attentionKind(kind), { dim: 16, heads: 4, ...own })), {
      code: 'ATTN_ARGUMENT',
      says,
    });
});

describe('random features', () => {
  it('are orthogonal in blocks, and the same from the same seed', () => {
    const [m, d] = [20, 8];
    const rows = orthogonalRows(m, d, 3);
    expect(orthogonalRows(m, d, 3)).toEqual(rows);
    expect(orthogonalRows(m, d, 4)).not.toEqual(rows);
    for (let a = 0; a < m; a++)
      for (let b = a + 1; b < m && Math.floor(b / d) === Math.floor(a / d); b++) {
        let dot = 0;
        for (let i = 0; i < d; i++) dot += rows[a * d + i]! * rows[b * d + i]!;
        expect(Math.abs(dot)).toBeLessThan(1e-5);
      }
    // Norms are those of Gaussian vectors: E |w|² = d.
    const many = orthogonalRows(2000, d, 1);
    expect(many.reduce((s, v) => s + v * v, 0) / 2000).toBeCloseTo(d, 0);
  });

  it('estimate what softmax attends to', () => {
    const layer = (kind: string, own: object = {}) =>
      layerOf(attentionKind(kind), { dim: 16, heads: 2, bias: false, ...own });
    const x = sequence(1, 24, 16);
    const exact = outputOf(layer('flash'), x);
    const size = Math.sqrt(exact.reduce((s, v) => s + v * v, 0) / exact.length);
    const error = (features: number) => {
      const errors = [1, 2, 3, 4].map((seed) => {
        const y = outputOf(layer('performer', { features, seed }), x);
        return y.reduce((s, v, i) => s + (v - exact[i]!) ** 2, 0) / exact.length;
      });
      return Math.sqrt(errors.reduce((a, b) => a + b) / 4) / size;
    };
    const [few, more] = [error(8), error(256)];
    expect(more).toBeLessThan(0.1);
    expect(more).toBeLessThan(few / 2);
  });
});
