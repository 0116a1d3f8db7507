/** Rotary positions beyond the trained length: YaRN's frequencies and temperature, and DroPE's switch. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attentionKind, attentionKinds } from '../src/attention/registry.js';
import { dropeTemperature, yarnFactor, yarnFrequencies } from '../src/attention/shared/extension.js';
import { GPT, manualSeed, noGrad, Rotary, ropeTable } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { layerOf, outputOf, sequence, withParameters } from './support/layers.js';
import { cpu } from './support/sides.js';

describe('positions', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each([
    { theta: 10000, interleaved: false },
    { theta: 500, interleaved: false },
    { theta: 500, interleaved: true },
  ])('a Rotary turns pair i by t theta^(-2i/dim), and leaves what is beyond its dim: %j', async (options) => {
    const [T, D, dim] = [7, 10, 8];
    const x = sequence(1, T, D).reshape([1, T, 1, D]);
    const v = await x.data();
    const rope = new Rotary({ dim, ...options, length: 4 });
    for (const offset of [0, 3]) {
      const got = await rope.apply(x, { offset }).data();
      for (let t = 0; t < T; t++) {
        for (let i = 0; i < dim / 2; i++) {
          const angle = (t + offset) * options.theta ** ((-2 * i) / dim);
          const [one, two] = options.interleaved ? [2 * i, 2 * i + 1] : [i, i + dim / 2];
          const [a, b] = [v[t * D + one]!, v[t * D + two]!];
          expect(got[t * D + one]).toBeCloseTo(a * Math.cos(angle) - b * Math.sin(angle), 5);
          expect(got[t * D + two]).toBeCloseTo(a * Math.sin(angle) + b * Math.cos(angle), 5);
        }
        expect(got.subarray(t * D + dim, (t + 1) * D)).toEqual(v.subarray(t * D + dim, (t + 1) * D));
      }
    }
  });

  it.each(attentionKinds.filter(({ supports }) => supports.rope))(
    '$kind sees distances of places',
    (kind) => {
      const layer = layerOf(kind, { dim: 24, heads: 2 });
      const rope = new Rotary({ dim: layer.rotaryDim, theta: 50, length: 128 });
      const x = sequence(1, 9, 24);
      const at = (place: (t: number) => number) => {
        const positions = tensor(
          Int32Array.from({ length: 9 }, (_, t) => place(t)),
          [9],
        );
        return outputOf(layer, x, { rope, positions });
      };
      const near = at((t) => t);
      const apart = (y: ArrayLike<number>) => near.reduce((m, v, i) => Math.max(m, Math.abs(v - y[i]!)), 0);
      expect(outputOf(layer, x, { rope })).toEqual(near);
      expect(apart(at((t) => 2 * t))).toBeGreaterThan(1e-4);
      expect(apart(outputOf(layer, x))).toBeGreaterThan(1e-4);
      // Features of turned vectors, and channels of a pair that fade unlike, are not the same wherever a sequence begins.
      if (!['performer', 'gla'].includes(kind.kind)) expect(apart(at((t) => t + 100))).toBeLessThan(1e-5);
    },
  );

  it('a model turns by its theta, at the places after its cache', () => {
    const config = { vocab: 11, layers: 1, dim: 16, heads: 2, length: 12, positions: 'rope' } as const;
    const logits = (theta: number) => {
      manualSeed(2);
      const model = new GPT({ ...config, theta });
      expect(model.rope!.theta).toBe(theta);
      const y = noGrad(() => model.forward(tensor(Int32Array.of(1, 5, 2, 7), [1, 4])).dataSync());
      model.dispose();
      return y;
    };
    expect(logits(100)).not.toEqual(logits(10000));
    const layer = layerOf(attentionKind('flash'), { dim: 16, heads: 4 });
    const rope = new Rotary({ dim: 4, theta: 30 });
    const x = sequence(1, 4, 16);
    using cache = layer.newCache();
    const seen: (number | undefined)[] = [];
    const apply = rope.apply.bind(rope);
    rope.apply = (t, call) => {
      seen.push(call?.offset);
      return apply(t, call);
    };
    for (const _ of [0, 1, 2]) outputOf(layer, x, { rope, cache });
    expect(seen).toEqual([0, 4, 8]);
    expect(cache.length).toBe(12);
  });

  it('heads of an odd number of channels are turned but for the last, and an odd rotation is refused', async () => {
    const layer = layerOf(attentionKind('flash'), { dim: 16, heads: 4, headDim: 5 });
    const x = sequence(1, 6, 16);
    const y = outputOf(layer, x, { rope: new Rotary({ dim: 4 }) });
    expect(y.every(Number.isFinite)).toBe(true);
    expect(y).not.toEqual(outputOf(layer, x));
    for (const dim of [5, 1, 0, -2, 2.5])
      expectTyped(await failureOf(() => new Rotary({ dim })), {
        code: 'ATTN_ARGUMENT',
        op: 'Rotary',
        says: /dim is .*even/s,
      });
    const model = { vocab: 11, layers: 1, dim: 15, heads: 3, length: 4, positions: 'rope' } as const;
    expectTyped(await failureOf(() => new GPT(model)), {
      code: 'ATTN_ARGUMENT',
      says: /'flash' has heads of 5 channels[\s\S]*even/,
    });
  });

  it('YaRN keeps fast pairs, interpolates slow ones, and blends those between', () => {
    const [dim, theta, trained, factor] = [64, 10000, 2048, 8];
    const got = yarnFrequencies(dim, theta, { factor, trained });
    const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
    const ratios = plain.map((f, i) => got[i]! / f);
    plain.forEach((f, i) => {
      const turns = (trained * f) / (2 * Math.PI);
      if (turns >= 32) expect(ratios[i]).toBe(1);
      else if (turns <= 1) expect(ratios[i]).toBeCloseTo(1 / factor, 14);
      else expect(ratios[i]).toBeCloseTo(1 / factor + (1 - 1 / factor) * ((turns - 1) / 31), 12);
      if (i > 0) expect(ratios[i]).toBeLessThanOrEqual(ratios[i - 1]!);
    });
    expect(ratios.some((r) => r > 0.2 && r < 0.9)).toBe(true);
    expect([...yarnFrequencies(dim, theta, { factor: 1, trained })]).toEqual(
      plain.map((f) => expect.closeTo(f, 15)),
    );
  });

  it('temperatures are those published', () => {
    expect(yarnFactor(1)).toBe(1);
    expect(yarnFactor(0.5)).toBe(1);
    expect(yarnFactor(8)).toBeCloseTo(1.2079441541679836, 15);
    expect(dropeTemperature(2)).toBeCloseTo(1 + 0.412 * Math.LN2, 15);
    expect(dropeTemperature(4, 0.103)).toBeCloseTo(1.142788, 6);
    expect(dropeTemperature(0.5)).toBe(1);
  });

  it('a Rotary under YaRN turns by those angles and stretches, and can be set at run time', async () => {
    const yarn = { factor: 4, trained: 16 };
    const x = sequence(1, 9, 8).reshape([1, 9, 1, 8]);
    const frequencies = yarnFrequencies(8, 10000, yarn);
    const by = new Rotary({ dim: 8, yarn });
    const got = await by.apply(x, { offset: 3 }).data();
    const v = await x.data();
    for (let t = 0; t < 9; t++)
      for (let i = 0; i < 4; i++) {
        const angle = (t + 3) * frequencies[i]!;
        const [a, b] = [v[t * 8 + i]!, v[t * 8 + i + 4]!];
        expect(got[t * 8 + i]).toBeCloseTo(yarnFactor(4) * (a * Math.cos(angle) - b * Math.sin(angle)), 5);
      }
    const later = new Rotary({ dim: 8 });
    const plain = await later.apply(x, { offset: 3 }).data();
    later.yarn = yarn;
    expect(await later.apply(x, { offset: 3 }).data()).toEqual(got);
    expect(later.yarn).toEqual(yarn);
    later.yarn = null;
    expect(await later.apply(x, { offset: 3 }).data()).toEqual(plain);
    // A table that grows stays YaRN's.
    const short = new Rotary({ dim: 8, length: 2, yarn });
    expect(await short.apply(x, { offset: 3 }).data()).toEqual(got);
  });

  it('dropped, a layer is the one without positions, its logits at the temperature asked for', () => {
    const layer = layerOf(attentionKind('flash'), { dim: 16, heads: 4, kvHeads: 2 });
    const rope = new Rotary({ dim: 4 });
    const x = sequence(2, 7, 16);
    const turned = outputOf(layer, x, { rope });
    rope.drop();
    expect(rope.dropped).toBe(true);
    expect(outputOf(layer, x, { rope })).toEqual(outputOf(layer, x));
    rope.drop({ temperature: dropeTemperature(3) });
    const warm = outputOf(layer, x, { rope });
    // Logits times β are those of queries times β.
    const sharper = [...layer.namedParameters()].map(([name, p]) => {
      if (!name.startsWith('qkv')) return p;
      const values = p.dataSync() as Float32Array;
      const rows = values.length / 32;
      const scaled = values.map((v, i) => (Math.floor(i / rows) < 16 ? v * dropeTemperature(3) : v));
      return tensor(scaled, p.shape);
    });
    withParameters(layer, sharper, () => outputOf(layer, x)).forEach((v, i) => {
      expect(warm[i]).toBeCloseTo(v, 5);
    });
    expect(warm).not.toEqual(outputOf(layer, x));
    rope.restore();
    expect(rope.dropped).toBe(false);
    expect(outputOf(layer, x, { rope })).toEqual(turned);
  });

  it('dropped, a layer decodes as it runs', () => {
    const layer = layerOf(attentionKind('flash'), { dim: 16, heads: 4 });
    const rope = new Rotary({ dim: 4 });
    rope.drop({ temperature: 1.3 });
    const x = sequence(1, 6, 16);
    const whole = outputOf(layer, x, { rope });
    using cache = layer.newCache();
    for (let t = 0; t < 6; t++) {
      const one = tensor((x.dataSync() as Float32Array).slice(t * 16, (t + 1) * 16), [1, 1, 16]);
      outputOf(layer, one, { rope, cache }).forEach((v, i) => {
        expect(v).toBeCloseTo(whole[t * 16 + i]!, 5);
      });
    }
  });

  it.each(['hyperbolic', 'linear', 'simplicial', 'triple'])('%s takes no temperature', async (kind) => {
    const layer = layerOf(attentionKind(kind), { dim: 16, heads: 4 });
    const x = sequence(1, 5, 16);
    const yarn = { factor: 4, trained: 4 };
    const rope = new Rotary({ dim: layer.rotaryDim, yarn });
    expect(rope.stretch).toBe(yarnFactor(4));
    expectTyped(await failureOf(() => layer.forward(x, { rope })), {
      code: 'ATTN_ARGUMENT',
      op: layer.kind.name,
    });
    rope.yarn = { ...yarn, attention: 1 };
    expect(outputOf(layer, x, { rope }).every(Number.isFinite)).toBe(true);
    rope.drop();
    expect(outputOf(layer, x, { rope })).toEqual(outputOf(layer, x));
  });

  it('a model goes on without its rotation, and with it again', () => {
    manualSeed(2);
    const config = { vocab: 11, layers: 2, dim: 16, heads: 2, length: 12 } as const;
    const model = new GPT({ ...config, positions: 'rope' });
    manualSeed(2);
    const none = new GPT({ ...config, positions: 'none' });
    const ids = tensor(Int32Array.of(1, 5, 2, 7, 3, 3, 0, 10), [1, 8]);
    const logits = (m: GPT) => noGrad(() => m.forward(ids).dataSync());
    const before = logits(model);
    model.rope!.drop();
    expect(logits(model)).toEqual(logits(none));
    model.rope!.restore();
    expect(logits(model)).toEqual(before);
    model.dispose();
    none.dispose();
  });

  it('refuses what gives no angles', async () => {
    const make = (yarn: object) => () => new Rotary({ dim: 8, yarn: yarn as never });
    for (const call of [
      make({ factor: 0.5, trained: 16 }),
      make({ factor: 2, trained: 0 }),
      make({ factor: 2, trained: 16, slow: 4, fast: 4 }),
      make({ factor: 2, trained: 16, attention: 0 }),
      () => new Rotary({ dim: 8 }).drop({ temperature: 0 }),
      () => {
        new Rotary({ dim: 8 }).yarn = { factor: Number.NaN, trained: 4 };
      },
      () => dropeTemperature(0),
      () => dropeTemperature(2, -1),
      () => ropeTable({ length: 4, dim: 8, frequencies: [1, 2] }),
      () => ropeTable({ length: 4, dim: 8, factor: Number.NaN }),
    ])
      expectTyped(await failureOf(call), { code: 'ATTN_ARGUMENT' });
  });
});
