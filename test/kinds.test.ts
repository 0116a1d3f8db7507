/** Every kind of attention against the promises of its contract, on every side. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { attentionKind, attentionKinds, createAttention } from '../src/attention/registry.js';
import { autocast, GPT, gradcheck, noGrad, QuantumGeometricAttention, Rotary, sum } from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { decode } from '../src/tensor/dtype.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { configsOf, layerOf, noise, outputOf, sequence, withParameters, worst } from './support/layers.js';
import { cpu, sides } from './support/sides.js';

const cases = attentionKinds.flatMap((kind) =>
  configsOf(kind).map((config) => ({ kind, config, name: `${kind.kind} ${JSON.stringify(config)}` })),
);
const [B, T, C] = [2, 13, 16];

/** What the layer sees positions by: a rotation where it has one. */
const ropeOf = (layer: ReturnType<typeof layerOf>) =>
  layer.kind.supports.rope ? new Rotary({ dim: layer.rotaryDim }) : null;

const finite = (a: Iterable<number>) => [...a].every(Number.isFinite);

/** Padding at the end of the second sequence; and a first token that is padding, so that it sees nothing. */
const padding = (keys = T) =>
  tensor(
    Uint8Array.from({ length: B * keys }, (_, i) => Number(i < keys ? i > 0 : i % keys < keys - 4)),
    [B, keys],
    { dtype: 'bool' },
  );

describe.each(sides)('attention kinds on $side', ({ side, options }) => {
  // One runtime for all: a pipeline is compiled once.
  let runtime: Runtime;
  beforeAll(() => {
    runtime = new Runtime(options);
  });
  beforeEach(() => {
    useRuntime(runtime);
  });
  afterAll(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each(cases)('$name: shape, parameters, determinism', ({ kind, config }) => {
    const layer = layerOf(kind, config);
    const x = sequence(B, T, C);
    const rope = ropeOf(layer);
    expect(layer.size).toBe(kind.parameters(layer.config as never));
    const y = outputOf(layer, x, { rope });
    expect(y.length).toBe(B * T * C);
    expect(finite(y)).toBe(true);
    expect(outputOf(layer, x, { rope })).toEqual(y);
    expect(outputOf(layerOf(kind, config), x, { rope })).toEqual(y);
    // One token, and no sequence at all.
    expect(finite(outputOf(layer, sequence(1, 1, C), { rope }))).toBe(true);
    expect(outputOf(layer, tensor(new Float32Array(0), [0, T, C]), { rope }).length).toBe(0);
  });

  it.each(cases.filter(({ config }) => config.causal))(
    '$name: what comes later changes nothing before it',
    ({ kind, config }) => {
      const layer = layerOf(kind, config);
      const rope = ropeOf(layer);
      const before = noise(B * T * C);
      for (const t0 of [1, 6, T - 1]) {
        const changed = before.map((v, i) => (Math.floor(i / C) % T >= t0 ? 3 * v + 1 : v));
        const [y, z] = [before, changed].map((v) => outputOf(layer, tensor(v, [B, T, C]), { rope }));
        for (let b = 0; b < B; b++) {
          const [from, to] = [b * T * C, (b * T + t0) * C];
          expect(z!.subarray(from, to)).toEqual(y!.subarray(from, to));
          expect(z!.subarray(to, (b + 1) * T * C)).not.toEqual(y!.subarray(to, (b + 1) * T * C));
        }
      }
    },
  );

  it.each(cases)(
    '$name: what is padding does not matter, and a row that sees nothing is 0',
    ({ kind, config }) => {
      const layer = layerOf(kind, { ...config, bias: false });
      const rope = ropeOf(layer);
      const values = noise(B * T * C);
      const mask = padding();
      const other = values.map((v, i) => {
        const [b, t] = [Math.floor(i / C / T), Math.floor(i / C) % T];
        return (b === 0 ? t === 0 : t >= T - 4) ? 5 - v : v;
      });
      const [y, z] = [values, other].map((v) => outputOf(layer, tensor(v, [B, T, C]), { rope, mask }));
      const kept = (a: Float32Array) => [...a.subarray(C, T * C), ...a.subarray(T * C, (2 * T - 4) * C)];
      expect(kept(z!)).toEqual(kept(y!));
      expect(finite(y!)).toBe(true);
      // The first token of the first sequence sees padding alone.
      if (config.causal) expect([...y!.subarray(0, C)].every((v) => v === 0)).toBe(true);
      const nothing = tensor(new Uint8Array(B * T), [B, T], { dtype: 'bool' });
      const none = outputOf(layer, tensor(values, [B, T, C]), { rope, mask: nothing });
      expect(none.every((v) => v === 0)).toBe(true);
    },
  );

  it.each(cases.filter(({ kind, config }) => kind.complexity.cache && config.causal))(
    '$name: decoding with a cache is the whole forward',
    ({ kind, config }) => {
      const layer = layerOf(kind, config);
      const rope = ropeOf(layer);
      const x = noise(B * T * C);
      const part = (from: number, to: number) =>
        tensor(
          Float32Array.from([0, 1].flatMap((b) => [...x.subarray((b * T + from) * C, (b * T + to) * C)])),
          [B, to - from, C],
        );
      for (const mask of [undefined, padding()]) {
        const whole = outputOf(layer, tensor(x, [B, T, C]), { rope, mask });
        for (const cuts of [[5, 6, 8], Array.from({ length: T - 1 }, (_, t) => t + 1)]) {
          using cache = layer.newCache(B);
          let from = 0;
          for (const to of [...cuts, T]) {
            const seen =
              mask &&
              tensor(
                Uint8Array.from([0, 1].flatMap((b) => [...mask.dataSync().subarray(b * T, b * T + to)])),
                [B, to],
                { dtype: 'bool' },
              );
            const y = outputOf(layer, part(from, to), { rope, cache, mask: seen });
            for (let b = 0; b < B; b++)
              expect(
                worst(
                  y.subarray(b * (to - from) * C, (b + 1) * (to - from) * C),
                  whole.subarray((b * T + from) * C, (b * T + to) * C),
                ),
              ).toBeLessThan(1e-5);
            from = to;
          }
          expect(cache.length).toBe(T);
          expect(cache.bytes).toBeGreaterThan(0);
        }
      }
    },
  );

  it.each(cases)('$name: bfloat16 is finite, forward and backward', ({ kind, config }) => {
    const layer = layerOf(kind, config);
    const x = sequence(B, T, C);
    autocast('bfloat16', () => {
      const y = layer.forward(x, { rope: ropeOf(layer) });
      expect(finite(decode(y.dtype, y.dataSync()))).toBe(true);
      sum(y.mul(y)).backward();
    });
    for (const p of layer.parameters()) {
      expect(p.grad!.dtype).toBe('float32');
      expect(finite(p.grad!.dataSync() as Float32Array)).toBe(true);
    }
  });

  it.each(cases)('$name: runs where its tensors are, and leaves no others', async ({ kind, config }) => {
    const layer = layerOf(kind, config);
    const rope = kind.supports.rope ? new Rotary({ dim: layer.rotaryDim, length: 2 }) : null;
    const x = sequence(B, T, C);
    const mask = padding();
    const y = outputOf(layer, x, { rope, mask });
    using other = new Runtime(cpu.options);
    useRuntime(other);
    rope?.grow(64);
    expect(outputOf(layer, x, { rope, mask })).toEqual(y);
    expect(other.tensors).toBe(0);
    useRuntime(runtime);
    const tensors = runtime.tensors;
    noGrad(() => layer.forward(x, { rope, mask })).dispose();
    if (!(layer instanceof QuantumGeometricAttention)) expect(runtime.tensors).toBe(tensors);
  });

  it.each(cases.filter(({ kind, config }) => kind.complexity.cache && config.causal))(
    '$name: a call that throws leaves the cache as it was',
    async ({ kind, config }) => {
      const layer = layerOf(kind, config);
      const x = sequence(1, 5, C);
      const [head, tail] = [x.slice({ ends: [1, 3] }), x.slice({ starts: [0, 3] })];
      const whole = outputOf(layer, x);
      using cache = layer.newCache();
      outputOf(layer, head, { cache });
      const back = layer as unknown as { out: object };
      const { out } = back;
      back.out = {
        forward() {
          throw new RangeError('after the cache was written');
        },
      };
      const [bytes, tensors] = [cache.bytes, runtime.tensors];
      expect(() => outputOf(layer, tail, { cache })).toThrow(RangeError);
      back.out = out;
      expect([cache.length, cache.bytes, runtime.tensors]).toEqual([3, bytes, tensors]);
      expect(worst(outputOf(layer, tail, { cache }), whole.subarray(3 * C))).toBeLessThan(1e-5);
    },
  );

  it.runIf(side === 'vulkan').each(cases)('$name: is what the CPU computes', ({ kind, config }) => {
    const run = () => {
      const layer = layerOf(kind, config);
      const y = layer.forward(sequence(B, T, C), { rope: ropeOf(layer), mask: padding() });
      sum(y.mul(sequence(B, T, C, 2))).backward();
      return [y, ...layer.parameters().map((p) => p.grad!)].map((t) => t.dataSync() as Float32Array);
    };
    const there = run();
    const here = new Runtime(cpu.options);
    useRuntime(here);
    const wanted = run();
    useRuntime(runtime);
    here.dispose();
    there.forEach((values, i) => {
      const size = Math.max(1, ...wanted[i]!.map(Math.abs));
      expect(worst(values, wanted[i]!) / size).toBeLessThan(2e-5);
    });
  });
});

describe('attention kinds', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });
  const refuses = async (fn: () => unknown, code: string, says?: RegExp) =>
    expectTyped(await failureOf(fn), { code, says });

  it.each(cases)('$name: its gradient is that of its formula', ({ kind, config }) => {
    const layer = layerOf(kind, config);
    const rope = ropeOf(layer);
    const mask = tensor(Uint8Array.of(1, 1, 1, 1, 1, 1, 0), [1, 7], { dtype: 'bool' });
    const f = (x: Tensor, ...parameters: Tensor[]) =>
      withParameters(layer, parameters, () => layer.forward(x, { rope, mask }));
    const report = gradcheck(f, [sequence(1, 7, C), ...layer.parameters()], { samples: 6, tolerance: 2e-5 });
    expect(report.compared).toBeGreaterThan(6);
  });

  it.each(attentionKinds)('$kind: matches the parameters of mha', (kind) => {
    const causal = kind.supports.causal !== 'never';
    const layer = layerOf(kind, { dim: 128, heads: 4, causal, matchParams: true });
    const wanted = 4 * 128 * 129;
    expect(layer.size).toBe(kind.parameters(layer.config as never));
    expect(Math.abs(layer.size - wanted) / wanted).toBeLessThan(0.05);
    expect(outputOf(layer, sequence(1, 3, 128)).length).toBe(384);
  });

  it.each(attentionKinds)(
    '$kind: is made again from its configuration, and matches by no stretch',
    async (kind) => {
      const base = { dim: 128, heads: 4, causal: kind.supports.causal !== 'never' };
      const { config } = layerOf(kind, { ...base, matchParams: true });
      expect(layerOf(kind, config).config).toEqual(config);
      // A head has at most 256 channels: not enough for one head to have as many parameters.
      await refuses(
        () => layerOf(kind, { ...base, dim: 4096, heads: 1, headDim: undefined, matchParams: true }),
        'ATTN_ARGUMENT',
        new RegExp(`${kind.name}\\(\\).*matchParams`),
      );
    },
  );

  it.each(attentionKinds)('$kind: refuses what it cannot do, by name', async (kind) => {
    const causal = kind.supports.causal !== 'never';
    const base = { dim: 16, heads: 4, causal };
    const { name } = kind;
    const make = (more: object) => () => layerOf(kind, { ...base, ...more });
    const named = (what: string) => new RegExp(`${name}\\(\\).*${what}`);
    await refuses(make({ heads: 3 }), 'ATTN_ARGUMENT', named('heads is 3'));
    await refuses(make({ heads: 0 }), 'ATTN_ARGUMENT', named('heads is 0'));
    await refuses(make({ kvHeads: 3 }), 'ATTN_ARGUMENT', named('kvHeads is 3'));
    await refuses(make({ window: -1 }), 'ATTN_ARGUMENT', named('window is -1'));
    await refuses(make({ dropout: 1 }), 'ATTN_ARGUMENT', named('dropout is 1'));
    await refuses(make({ headz: 4 }), 'ATTN_ARGUMENT', /did you mean 'heads'/);
    if (!kind.supports.grouped) await refuses(make({ kvHeads: 2 }), 'ATTN_ARGUMENT', named('kvHeads is 2'));
    if (!kind.supports.window) await refuses(make({ window: 4 }), 'ATTN_ARGUMENT', named('window is 4'));
    if (!kind.supports.alibi) await refuses(make({ alibi: true }), 'ATTN_ARGUMENT', named('alibi is true'));
    if (kind.supports.causal === 'never')
      await refuses(make({ causal: true }), 'ATTN_ARGUMENT', named('causal'));
    if (kind.supports.causal === 'always')
      await refuses(make({ causal: false }), 'ATTN_ARGUMENT', named('causal'));
    const layer = make({})();
    await refuses(() => layer.forward(sequence(1, 3, 15)), 'ATTN_SHAPE', named('x is'));
    await refuses(
      () => layer.forward(sequence(1, 3, 16), { rope: {} as never }),
      'ATTN_ARGUMENT',
      named('rope'),
    );
    const other = { causal: !causal };
    if (kind.supports.causal === 'both')
      expect(outputOf(layer, sequence(1, 5, 16), other)).toEqual(outputOf(make(other)(), sequence(1, 5, 16)));
    else await refuses(() => layer.forward(sequence(1, 3, 16), other), 'ATTN_ARGUMENT', named('causal is'));
    await refuses(() => layer.forward([1] as never), 'ATTN_ARGUMENT');
    const square = tensor(new Uint8Array(9), [1, 1, 3, 3], { dtype: 'bool' });
    if (kind.supports.mask === 'keys')
      await refuses(
        () => layer.forward(sequence(1, 3, 16), { mask: square }),
        'ATTN_ARGUMENT',
        named('mask'),
      );
    else expect(outputOf(layer, sequence(1, 3, 16), { mask: square }).length).toBe(48);
    await refuses(() => layer.forward(sequence(2, 3, 16), { mask: padding(4) }), 'ATTN_SHAPE', named('mask'));
    if (kind.supports.rope) {
      const rope = new Rotary({ dim: 2 * layer.rotaryDim });
      await refuses(() => layer.forward(sequence(1, 3, 16), { rope }), 'ATTN_ARGUMENT', named('rope'));
      // The table grows with the sequence.
      const short = new Rotary({ dim: layer.rotaryDim - (layer.rotaryDim % 2), length: 2 });
      expect(outputOf(layer, sequence(1, 5, 16), { rope: short }).length).toBe(80);
      expect(short.length).toBeGreaterThanOrEqual(5);
    } else {
      const rope = new Rotary({ dim: 2 });
      await refuses(() => layer.forward(sequence(1, 3, 16), { rope }), 'ATTN_ARGUMENT', named('rotation'));
    }
    if (kind.complexity.cache && causal) {
      const cache = layer.newCache(2);
      await refuses(() => outputOf(layer, sequence(1, 3, 16), { cache }), 'ATTN_ARGUMENT', named('batch'));
      await refuses(() => outputOf(layer, sequence(2, 3, 16), { cache: {} as never }), 'ATTN_ARGUMENT');
      const few = { cache, mask: padding(2) };
      await refuses(() => outputOf(layer, sequence(2, 3, 16), few), 'ATTN_SHAPE', named('mask'));
      const whole = { cache, causal: false };
      await refuses(() => outputOf(layer, sequence(2, 3, 16), whole), 'ATTN_ARGUMENT', named('causal'));
      expect(cache.length).toBe(0);
      await refuses(() => layer.forward(sequence(2, 3, 16), { cache }), 'ATTN_GRAD', named('gradient'));
      await refuses(() => layer.newCache(0), 'ATTN_ARGUMENT', named('batch'));
      const foreign = layerOf(attentionKind(kind.kind === 'mha' ? 'flash' : 'mha'), base).newCache(2);
      await refuses(
        () => outputOf(layer, sequence(2, 3, 16), { cache: foreign }),
        'ATTN_ARGUMENT',
        named("cache is of '"),
      );
      await refuses(
        () => outputOf(layer, sequence(2, 3, 16), { cache, residual: sequence(2, 4, 16) }),
        'ATTN_SHAPE',
        named('residual'),
      );
    } else await refuses(() => layer.newCache(1), 'ATTN_ARGUMENT', named('token by token'));
    // A NaN stays one.
    const values = noise(5 * 16);
    values[4 * 16] = Number.NaN;
    const spoilt = outputOf(layer, tensor(values, [1, 5, 16]));
    expect(spoilt.subarray(64).some(Number.isNaN)).toBe(true);
  });

  it.each([
    ['flash', { qkNorm: true }, { qkNorm: false }, { 'qkv.weight': 2 / 3 }],
    ['simplicial', { qkNorm: true }, { qkNorm: false }, { 'q.weight': 1, 'k.weight': 1, 'k2.weight': 1 }],
    ['triple', {}, { unitNorm: false }, { 'qrkv.weight': 3 / 4 }],
  ] as const)(
    '%s: with %j scores do not grow with weights, with %j they do',
    (name, normed, plain, grown) => {
      const apart = (own: object) => {
        const layer = layerOf(attentionKind(name), { dim: C, heads: 2, bias: false, ...own });
        const before = outputOf(layer, sequence(1, T, C));
        for (const [weight, share] of Object.entries(grown)) {
          const p = layer.stateDict()[weight]!;
          const values = (p.dataSync() as Float32Array).map((v, i) => (i < share * p.size ? 8 * v : v));
          layer.loadStateDict({ [weight]: tensor(values, p.shape) }, { strict: false });
        }
        return worst(outputOf(layer, sequence(1, T, C)), before);
      };
      expect(apart(normed)).toBeLessThan(1e-4);
      expect(apart(plain)).toBeGreaterThan(0.01);
    },
  );

  it('an unknown kind is answered with the nearest', async () => {
    for (const make of [
      () => createAttention({ kind: 'flahs', dim: 16, heads: 4 }),
      () => new GPT({ vocab: 11, layers: 1, dim: 16, heads: 4, length: 8, attention: { kind: 'flahs' } }),
    ])
      await refuses(make, 'ATTN_ARGUMENT', /'flahs'[\s\S]*did you mean 'flash'/);
    await refuses(() => createAttention({ dim: 16, heads: 4 } as never), 'ATTN_ARGUMENT', /'undefined'/);
  });

  it.each(attentionKinds)('$kind: bytes grow with the sequence as declared', async (kind) => {
    const causal = kind.supports.causal !== 'never';
    const peak = async (length: number) => {
      using mine = new Runtime(cpu.options);
      useRuntime(mine);
      const layer = layerOf(kind, { dim: 16, heads: 1, causal });
      const y = layer.forward(sequence(1, length, 16), { rope: ropeOf(layer) });
      sum(y).backward();
      await mine.sync();
      return mine.memory().host.peak;
    };
    const ratio = (await peak(4096)) / (await peak(512));
    useRuntime(runtime);
    const grows = { '1': [0, 8], T: [4, 9.5], 'T^2': [24, 100] }[kind.complexity.memory];
    expect(ratio).toBeGreaterThan(grows[0]!);
    expect(ratio).toBeLessThan(grows[1]!);
  });
});
