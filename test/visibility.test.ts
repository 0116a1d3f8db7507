/**
 * What tokens see, to the bit, in every kind and on every side: in halves, beyond the first tile, in the gradient, under
 * windows and under masks of queries and keys.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { AttentionCall } from '../src/attention/attention.js';
import { attentionKinds } from '../src/attention/registry.js';
import { type Attention, autocast, cast, noGrad, Rotary, slice, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { configsOf, layerOf, noise, outputOf, sequence, worst } from './support/layers.js';
import { sides } from './support/sides.js';

const cases = attentionKinds.flatMap((kind) =>
  configsOf(kind).map((config) => ({ kind, config, name: `${kind.kind} ${JSON.stringify(config)}` })),
);
const C = 16;

const ropeOf = (layer: Attention) => (layer.kind.supports.rope ? new Rotary({ dim: layer.rotaryDim }) : null);
const floats = (t: Tensor) => t.dataSync() as Float32Array;
const size = (a: Float32Array) => a.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
const bools = (values: Iterable<unknown>, shape: number[]) =>
  tensor(Uint8Array.from(values as Iterable<number>, Number), shape, { dtype: 'bool' });
/** Other values for the tokens that `which` names. */
const changed = (x: Float32Array, length: number, which: (t: number, b: number) => boolean) =>
  x.map((v, i) => (which(Math.floor(i / C) % length, Math.floor(i / C / length)) ? 3 * v + 1 : v));
const rows = (y: Float32Array, from: number, to: number) => y.subarray(from * C, to * C);

describe.each(sides)('what tokens see on $side', ({ side, options }) => {
  // A driver compiles kernels for each dtype and mask, and its ops are tested with all: there the default configurations.
  const walked = side === 'cpu' ? cases : attentionKinds.map((kind) => cases.find((c) => c.kind === kind)!);
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  beforeEach(() => {
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  describe.each(side === 'cpu' ? (['bfloat16', 'float16'] as const) : (['bfloat16'] as const))(
    'in %s',
    (dtype) => {
      const [B, T] = [2, 13];
      it.each(walked)('$name: order, padding, nothing, and a cache', ({ kind, config }) => {
        const layer = layerOf(kind, { ...config, bias: false });
        const rope = ropeOf(layer);
        const run = (x: Float32Array, call: AttentionCall = {}) =>
          noGrad(() => {
            const input = tensor(x, [B, x.length / B / C, C]);
            const y = autocast(dtype, () => layer.forward(input, { rope, ...call }));
            return floats(cast(y, { dtype: 'float32' }));
          });
        const x = noise(B * T * C);
        const y = run(x);
        expect(y.length).toBe(B * T * C);
        expect(run(x)).toEqual(y);
        if (config.causal) {
          const z = run(changed(x, T, (t) => t >= 6));
          for (const b of [0, 1]) {
            expect(rows(z, b * T, b * T + 6)).toEqual(rows(y, b * T, b * T + 6));
            expect(rows(z, b * T + 6, (b + 1) * T)).not.toEqual(rows(y, b * T + 6, (b + 1) * T));
          }
        }
        // The first token of the first sequence is padding, and the last four of the second.
        const pads = (t: number, b: number) => (b === 0 ? t === 0 : t >= T - 4);
        const mask = bools(
          Array.from({ length: B * T }, (_, i) => !pads(i % T, Math.floor(i / T))),
          [B, T],
        );
        const [p, q] = [x, changed(x, T, pads)].map((v) => run(v, { mask })) as [Float32Array, Float32Array];
        expect(rows(q, 1, 2 * T - 4)).toEqual(rows(p, 1, 2 * T - 4));
        const none = run(x, { mask: bools(new Array(B * T).fill(0), [B, T]) });
        expect(none.every((v) => v === 0)).toBe(true);
        if (!config.causal || !kind.complexity.cache) return;
        // Decoding rounds as the whole does, but not in the same places.
        using cache = layer.newCache(B);
        for (const [from, to] of [
          [0, 5],
          [5, 6],
          [6, T],
        ] as const) {
          // biome-ignore format: cuts
          const part = [0, 1].flatMap((b) => [...rows(x, b * T + from, b * T + to)]);
          const got = run(Float32Array.from(part), { cache });
          const want = [0, 1].flatMap((b) => [...rows(y, b * T + from, b * T + to)]);
          expect(worst(got, want)).toBeLessThan(
            (dtype === 'bfloat16' ? 2 ** -5 : 2 ** -8) * Math.max(1, size(y)),
          );
        }
      });
    },
  );

  it.each(walked.filter(({ config }) => config.causal))(
    '$name: nothing later, beyond the first tile and in the gradient',
    ({ kind, config }) => {
      const T = 131;
      const rope = (layer: Attention) => ({ rope: ropeOf(layer) });
      const x = noise(T * C);
      const forward = (values: Float32Array) => {
        const layer = layerOf(kind, config);
        return outputOf(layer, tensor(values, [1, T, C]), rope(layer));
      };
      const y = forward(x);
      for (const t0 of [64, 65, 129]) {
        const z = forward(changed(x, T, (t) => t >= t0));
        expect(rows(z, 0, t0)).toEqual(rows(y, 0, t0));
        expect(rows(z, t0, t0 + 1)).not.toEqual(rows(y, t0, t0 + 1));
      }
      const gradients = () => {
        const layer = layerOf(kind, config);
        const input = tensor(x, [1, T, C]);
        input.requiresGrad = true;
        const seen = slice(layer.forward(input, rope(layer)), { ends: [1, 65] });
        sum(seen.mul(sequence(1, 65, C, 2))).backward();
        return [input, ...layer.parameters()].map((t) => floats(t.grad!));
      };
      const first = gradients();
      expect(rows(first[0]!, 65, T).every((v) => v === 0)).toBe(true);
      expect(rows(first[0]!, 64, 65).some((v) => v !== 0)).toBe(true);
      expect(gradients()).toEqual(first);
    },
  );

  const windowed = attentionKinds.filter(({ supports }) => supports.window);
  it.each(windowed)('$kind: nothing beyond its window', (kind) => {
    const [T, at, window] = [70, 40, 5];
    for (const order of [true, false]) {
      const layer = layerOf(kind, { dim: C, heads: 2, window, causal: order });
      const rope = ropeOf(layer);
      const x = noise(T * C);
      const [y, z] = [x, changed(x, T, (t) => t === at)].map((v) =>
        outputOf(layer, tensor(v, [1, T, C]), { rope }),
      ) as [Float32Array, Float32Array];
      for (let t = 0; t < T; t++) {
        const sees = t - at < window && (order ? t >= at : at - t < window);
        if (sees) expect(rows(z, t, t + 1)).not.toEqual(rows(y, t, t + 1));
        else expect(rows(z, t, t + 1)).toEqual(rows(y, t, t + 1));
      }
    }
  });

  it.runIf(side === 'cpu').each(cases.filter(({ kind }) => kind.supports.mask === 'any'))(
    '$name: a mask of queries and keys, kept or added',
    ({ kind, config }) => {
      const [B, T] = [2, 13];
      const layer = layerOf(kind, { ...config, bias: false });
      const rope = ropeOf(layer);
      const x = sequence(B, T, C);
      // Query 5 sees nothing, query 7 not the keys 6 and 7.
      const kept = Array.from({ length: T * T }, (_, e) => {
        const [i, j] = [Math.floor(e / T), e % T];
        return i !== 5 && !(i === 7 && (j === 6 || j === 7));
      });
      const whole = outputOf(layer, x, { rope });
      const masks = [
        bools(kept, [1, 1, T, T]),
        tensor(
          Float32Array.from(kept, (yes) => (yes ? 0 : Number.NEGATIVE_INFINITY)),
          [1, 1, T, T],
        ),
      ];
      for (const mask of masks) {
        const y = outputOf(layer, x, { rope, mask });
        for (let r = 0; r < B * T; r++) {
          const [got, free] = [rows(y, r, r + 1), rows(whole, r, r + 1)];
          if (r % T === 5) expect(got.every((v) => v === 0)).toBe(true);
          else if (r % T === 7) expect(worst(got, free)).toBeGreaterThan(1e-4);
          else expect(worst(got, free)).toBeLessThan(1e-6 * Math.max(1, size(free)));
        }
        const learned = layer.parameters();
        for (const p of learned) p.grad = null;
        sum(layer.forward(x, { rope, mask }).mul(sequence(B, T, C, 2))).backward();
        for (const p of learned) expect(floats(p.grad!).every(Number.isFinite)).toBe(true);
      }
      // What is added to all keys alike changes nothing.
      const shifted = outputOf(layer, x, { rope, mask: tensor([0.5], [1, 1, 1, 1]) });
      expect(worst(shifted, whole)).toBeLessThan(2e-6 * Math.max(1, size(whole)));
    },
  );

  it.runIf(side === 'cpu').each(cases)(
    '$name: where all is padding, gradients are finite',
    ({ kind, config }) => {
      const layer = layerOf(kind, config);
      const mask = bools([0, 0, 0, 0, 1, 1, 1, 1, 1, 0], [2, 5]);
      const x = sequence(2, 5, C);
      x.requiresGrad = true;
      sum(layer.forward(x, { rope: ropeOf(layer), mask }).mul(sequence(2, 5, C, 2))).backward();
      for (const t of [x, ...layer.parameters()]) expect(floats(t.grad!).every(Number.isFinite)).toBe(true);
      expect(rows(floats(x.grad!), 5, 9).some((v) => v !== 0)).toBe(true);
    },
  );
});
