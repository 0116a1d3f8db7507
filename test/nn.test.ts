/** Modules: names, modes, state dicts; layers against their formulas. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { autocast, FlashAttention, GPT, manualSeed, scope, sum } from '../src/index.js';
import {
  Dropout,
  Embedding,
  init,
  LayerNorm,
  Linear,
  MLP,
  Module,
  Parameter,
  parametersByRole,
  RMSNorm,
  sinusoids,
} from '../src/nn/index.js';
import { AdamW } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { Generator } from '../src/tensor/generator.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
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

const refuses = async (fn: () => unknown, code: string, says?: RegExp) =>
  expectTyped(await failureOf(fn), { code, says });

class Pair extends Module {
  readonly gain = new Parameter(init.ones([2]));
  readonly layers = [new Linear(3, 2), new Linear(2, 4, { bias: false })];
  readonly shared = this.layers[0]!.weight;
  readonly loose = [new Parameter(init.zeros([1]))];
  readonly name = 'pair';
  readonly nothing: Parameter | null = null;
}

describe('a module', () => {
  it('names its parameters in the order of definition, shared ones once', () => {
    const model = new Pair();
    expect([...model.namedParameters()].map(([name]) => name)).toEqual([
      'gain',
      'layers.0.weight',
      'layers.0.bias',
      'layers.1.weight',
      'loose.0',
    ]);
    expect(model.parameters()).toHaveLength(5);
    expect(model.size).toBe(2 + 6 + 2 + 8 + 1);
    expect([...model.modules()]).toEqual([model, ...model.layers]);
  });

  it('may point back to the one that holds it', () => {
    const model = new Pair();
    Object.assign(model.layers[0]!, { owner: model });
    expect(model.parameters()).toHaveLength(5);
    expect([...model.modules()]).toHaveLength(3);
  });

  it('sets the mode of everything in it', () => {
    const model = new Pair();
    expect([...model.eval().modules()].map((m) => m.training)).toEqual([false, false, false]);
    expect([...model.train().modules()].map((m) => m.training)).toEqual([true, true, true]);
  });

  it('loads what it saved, whatever happened meanwhile', async () => {
    const model = new Pair();
    const saved = model.stateDict();
    const before = model.parameters().map((p) => p.dataSync());
    const optimizer = new AdamW(model.parameters(), { lr: 1 });
    sum(model.gain.mul(2)).backward();
    optimizer.step();
    expect(model.gain.dataSync()).not.toEqual(before[0]);
    expect(saved.gain!.dataSync()).toEqual(before[0]);
    expect(model.loadStateDict(saved)).toEqual({ missing: [], unexpected: [] });
    expect(model.parameters().map((p) => p.dataSync())).toEqual(before);
    expect(saved.gain!.requiresGrad).toBe(false);
    optimizer.dispose();
  });

  it('lists all that does not fit, and writes nothing', async () => {
    const model = new Pair();
    const before = model.parameters().map((p) => p.dataSync());
    const { gain, ...rest } = new Pair().stateDict();
    const wrong = {
      ...rest,
      extra: gain!,
      'layers.0.bias': tensor([1, 2, 3]),
      'loose.0': tensor([1], [1], { dtype: 'bfloat16' }),
    };
    const error = await refuses(() => model.loadStateDict(wrong), 'ATTN_STATE_DICT', /missing: gain/);
    expect(error).toMatchObject({
      missing: ['gain'],
      unexpected: ['extra'],
      misshaped: [
        'layers.0.bias: float32[3] given, float32[2] wanted',
        'loose.0: bfloat16[1] given, float32[1] wanted',
      ],
    });
    await refuses(() => model.loadStateDict(wrong, { strict: false }), 'ATTN_STATE_DICT', /misshaped/);
    await refuses(
      () => model.loadStateDict({ ...rest, gain: 1 } as never),
      'ATTN_STATE_DICT',
      /not a tensor/,
    );
    await refuses(() => model.loadStateDict(null as never), 'ATTN_ARGUMENT');
    const gone = new Pair().stateDict();
    gone['loose.0']!.dispose();
    await refuses(() => model.loadStateDict(gone), 'ATTN_DISPOSED');
    expect(model.parameters().map((p) => p.dataSync())).toEqual(before);
    const match = model.loadStateDict({ ...rest, extra: gain! }, { strict: false });
    expect(match).toEqual({ missing: ['gain'], unexpected: ['extra'] });
    expect(model.layers[1]!.weight.dataSync()).toEqual(rest['layers.1.weight']!.dataSync());
  });

  it('ends its parameters, and outlives scopes', async () => {
    const model = scope(() => new Pair());
    expect(model.gain.disposed).toBe(false);
    model.dispose();
    expect(runtime.tensors).toBe(0);
    await refuses(() => model.stateDict(), 'ATTN_DISPOSED');
    await refuses(() => model.loadStateDict({}), 'ATTN_DISPOSED');
  });

  it('ends what the modules in it keep', () => {
    class Wrapped extends Module {
      readonly parts = [
        new GPT({ vocab: 5, layers: 1, dim: 8, heads: 2, length: 4, positions: 'rope' }), // keeps a table
      ];
    }
    new Wrapped().dispose();
    expect(runtime.tensors).toBe(0);
  });

  it('stays on its runtime whatever is current', async () => {
    const model = new Pair();
    const x = init.ones([8]);
    const other = new Runtime(cpu.options);
    useRuntime(other);
    expect(new Dropout(0.5).forward(x).runtime).toBe(runtime);
    const strange = new Pair().stateDict();
    const before = model.gain.dataSync();
    await refuses(() => model.loadStateDict(strange), 'ATTN_DEVICE', /'gain' belongs to another runtime/);
    expect(model.gain.dataSync()).toEqual(before);
    useRuntime(runtime);
    other.dispose();
  });

  it('takes float32 tensors alone as parameters', async () => {
    await refuses(() => new Parameter(tensor([1], [1], { dtype: 'bfloat16' })), 'ATTN_DTYPE');
    await refuses(() => new Parameter([1] as never), 'ATTN_ARGUMENT');
    await refuses(() => new Parameter(init.zeros([4, 2]), { parts: [3] }), 'ATTN_ARGUMENT');
  });

  it('tells what Muon and weight decay ask', () => {
    const model = new GPT({ vocab: 5, layers: 1, dim: 4, heads: 1, length: 3, tied: false });
    const { hidden, tables, vectors } = parametersByRole(model);
    expect(hidden.map((p) => p.shape)).toEqual([
      [12, 4],
      [4, 4],
      [16, 4],
      [4, 16],
    ]);
    expect(tables.map((p) => p.shape)).toEqual([
      [5, 4],
      [3, 4],
      [5, 4],
    ]);
    expect(vectors).toHaveLength(2 * 3 + 4);
    expect(hidden[0]!.parts).toEqual([4, 4, 4]);
  });
});

describe('initial values', () => {
  const moments = (t: Tensor) => {
    const values = Float64Array.from(t.dataSync());
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { mean, std: Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length) };
  };
  it.each([
    ['normal', init.normal(0.02), 0.02],
    ['uniform', init.uniform(-1, 1), 1 / Math.sqrt(3)],
    ['xavierUniform', init.xavierUniform(), Math.sqrt(2 / 300)],
    ['xavierNormal', init.xavierNormal(2), 2 * Math.sqrt(2 / 300)],
    ['kaimingUniform', init.kaimingUniform(Math.sqrt(5)), Math.sqrt(1 / 3 / 100)],
    ['kaimingNormal', init.kaimingNormal(), Math.sqrt(2 / 100)],
    ['residual', init.residual(8), 0.02 / 4],
  ] as const)('%s have their deviation', (_, make, std) => {
    const got = moments(make([200, 100]));
    expect(Math.abs(got.mean)).toBeLessThan(std * 0.03);
    expect(got.std / std).toBeGreaterThan(0.97);
    expect(got.std / std).toBeLessThan(1.03);
  });

  it('follow the seed, and differ from draw to draw', () => {
    const draw = () => init.normal()([8]).dataSync();
    const [a, b] = [draw(), draw()];
    expect(a).not.toEqual(b);
    manualSeed(7);
    expect([draw(), draw()]).toEqual([a, b]);
  });

  it('need an input and an output', () => refuses(() => init.xavierNormal()([3]), 'ATTN_ARGUMENT'));
});

describe('layers', () => {
  const values = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i + 1));

  it('Linear multiplies, adds and activates', async () => {
    const layer = new Linear(3, 2);
    const x = tensor(values(12), [2, 2, 3]);
    const r = tensor(values(8), [2, 2, 2]);
    const [w, b] = [layer.weight.dataSync(), layer.bias!.dataSync()];
    const want = Array.from({ length: 8 }, (_, i) => {
      const row = Math.floor(i / 2);
      const o = i % 2;
      return (
        Math.max(
          0,
          b[o]! +
            w[o * 3]! * values(12)[row * 3]! +
            w[o * 3 + 1]! * values(12)[row * 3 + 1]! +
            w[o * 3 + 2]! * values(12)[row * 3 + 2]!,
        ) + values(8)[i]!
      );
    });
    const got = layer.forward(x, { activation: 'relu', residual: r });
    want.forEach((v, i) => {
      expect(got.dataSync()[i]).toBeCloseTo(v, 5);
    });
    const bare = new Linear(3, 2, { bias: false });
    expect([...bare.namedParameters()].map(([name]) => name)).toEqual(['weight']);
    expect(bare.forward(x, { residual: r }).shape).toEqual([2, 2, 2]);
    await refuses(() => new Linear(0, 2), 'ATTN_ARGUMENT');
    await refuses(() => layer.forward(tensor([1, 2])), 'ATTN_SHAPE');
  });

  it('keep a residual stream in float32 under autocast', () => {
    const layer = new MLP(8, { kind: 'swiglu' });
    const x = tensor(values(16), [2, 8]);
    const y = autocast('bfloat16', () => layer.forward(x, { residual: x }));
    expect(y.dtype).toBe('float32');
    sum(y).backward();
    for (const p of layer.parameters()) expect(p.grad!.dtype).toBe('float32');
  });

  it('Dropout drops while training, by its own generator', () => {
    const layer = new Dropout(0.25, new Generator(3));
    const x = init.ones([4000]);
    const y = layer.forward(x).dataSync();
    const kept = y.filter((v) => v !== 0);
    expect(kept.length / 4000).toBeGreaterThan(0.72);
    expect(kept.length / 4000).toBeLessThan(0.78);
    expect(kept[0]).toBeCloseTo(4 / 3, 6);
    expect(layer.forward(x).dataSync()).not.toEqual(y);
    expect(new Dropout(0.25, new Generator(3)).forward(x).dataSync()).toEqual(y);
    expect(layer.eval().forward(x)).toBe(x);
  });

  it('refuse impossible options', async () => {
    await refuses(() => new Dropout(1), 'ATTN_ARGUMENT');
    await refuses(() => new LayerNorm(4, { eps: -1 }), 'ATTN_ARGUMENT');
    await refuses(() => new RMSNorm(0), 'ATTN_ARGUMENT');
    await refuses(() => new MLP(4, { kind: 'other' as never }), 'ATTN_ARGUMENT');
    await refuses(() => new FlashAttention({ dim: 6, heads: 4 }), 'ATTN_ARGUMENT');
    await refuses(() => new FlashAttention({ dim: 8, heads: 4, kvHeads: 3 }), 'ATTN_ARGUMENT');
    await refuses(() => new Embedding(0, 4), 'ATTN_ARGUMENT');
    const attention = new FlashAttention({ dim: 8, heads: 2 });
    await refuses(() => attention.forward(tensor(values(8), [1, 8])), 'ATTN_SHAPE');
  });

  it('sinusoids are those of the paper', () => {
    const table = sinusoids(3, 4).dataSync();
    expect(() => sinusoids(-1, 4)).toThrow(/length is -1/);
    const want = [0, 1, 0, 1, Math.sin(1), Math.cos(1), Math.sin(0.01), Math.cos(0.01)];
    want.forEach((v, i) => {
      expect(table[i]).toBeCloseTo(v, 6);
    });
  });
});
