/** Modules: names, modes, state dicts; layers against their formulas; GPT in all its kinds. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { autocast, checkpoint, manualSeed, noGrad, scope, sum } from '../src/index.js';
import {
  Dropout,
  Embedding,
  GPT,
  type GPTConfig,
  init,
  LayerNorm,
  Linear,
  MLP,
  Module,
  Parameter,
  parametersByRole,
  RMSNorm,
  SelfAttention,
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
    await refuses(() => new SelfAttention(6, 4), 'ATTN_ARGUMENT');
    await refuses(() => new SelfAttention(8, 4, { kvHeads: 3 }), 'ATTN_ARGUMENT');
    await refuses(() => new Embedding(0, 4), 'ATTN_ARGUMENT');
    const attention = new SelfAttention(8, 2);
    await refuses(() => attention.forward(tensor(values(8), [1, 8])), 'ATTN_SHAPE');
  });

  it('sinusoids are those of the paper', () => {
    const table = sinusoids(3, 4).dataSync();
    const want = [0, 1, 0, 1, Math.sin(1), Math.cos(1), Math.sin(0.01), Math.cos(0.01)];
    want.forEach((v, i) => {
      expect(table[i]).toBeCloseTo(v, 6);
    });
  });
});

const small: GPTConfig = { vocab: 11, layers: 2, dim: 16, heads: 4, length: 8 };
const ids = (batch: number, length: number, step = 3) =>
  tensor(
    Int32Array.from({ length: batch * length }, (_, i) => (i * step + 1) % 11),
    [batch, length],
  );

describe('GPT', () => {
  const kinds: Partial<GPTConfig>[] = [
    {},
    { norm: 'rms', mlp: 'swiglu', positions: 'rope', bias: false, kvHeads: 2, tied: false },
    { positions: 'sinusoidal', mlp: 'gelu_tanh', qkNorm: true },
    { positions: 'none', mlp: 'relu', dropout: 0.2, hidden: 24 },
    { mlp: 'silu', kvHeads: 1, tied: false },
  ];

  it.each(kinds)('learns: %o', async (kind) => {
    const model = new GPT({ ...small, ...kind });
    const optimizer = new AdamW(model.parameters(), { lr: 1e-2, maxNorm: 1 });
    const [x, y] = [ids(4, 8), ids(4, 8, 5)];
    const losses: number[] = [];
    for (let step = 0; step < 12; step++) {
      const loss = scope(() => {
        const loss = model.loss(x, y);
        loss.backward();
        return loss;
      });
      optimizer.step();
      optimizer.zeroGrad();
      losses.push(loss.itemSync());
      loss.dispose();
    }
    expect(losses[0]!).toBeGreaterThan(2);
    expect(losses[11]!).toBeLessThan(losses[0]! - 0.3);
    expect(await optimizer.skippedSteps()).toBe(0);
    for (const p of model.parameters()) expect(p.grad).toBeNull();
    optimizer.dispose();
    model.dispose();
    x.dispose();
    y.dispose();
    expect(runtime.tensors).toBe(0);
  });

  it.each(kinds)('sees no token before its turn, and no padding: %o', (kind) => {
    const model = new GPT({ ...small, ...kind }).eval();
    noGrad(() => {
      const before = model.forward(ids(2, 8)).dataSync();
      const changed = ids(2, 8).dataSync();
      changed[5] = 0;
      changed[8 + 5] = 0;
      const after = model.forward(tensor(changed, [2, 8])).dataSync();
      for (const row of [0, 1])
        expect(after.subarray(row * 88, row * 88 + 55)).toEqual(before.subarray(row * 88, row * 88 + 55));
      expect(after.subarray(55, 88)).not.toEqual(before.subarray(55, 88));
      // Where token 1 is padding, what it is does not matter to those after it.
      const mask = tensor(
        Uint8Array.from({ length: 16 }, (_, i) => Number(i % 8 !== 1)),
        [2, 8],
        { dtype: 'bool' },
      );
      const masked = [1, 4].map((token) => {
        const padded = ids(2, 8).dataSync();
        padded[1] = token;
        padded[9] = token;
        return model.forward(tensor(padded, [2, 8]), { mask }).dataSync();
      });
      expect(masked[0]!.subarray(22, 88)).toEqual(masked[1]!.subarray(22, 88));
    });
  });

  it('begins where a uniform guess would be, in a seeded way', () => {
    const loss = () => new GPT(small).loss(ids(2, 8), ids(2, 8, 7)).itemSync();
    const first = loss();
    expect(Math.abs(first - Math.log(11))).toBeLessThan(0.05);
    manualSeed(7);
    expect(loss()).toBe(first);
  });

  it('takes the same gradients through checkpoints', () => {
    const model = new GPT({ ...small, dropout: 0.1 });
    const block = model.blocks[0]!;
    const x = new Parameter(init.normal(1)([2, 8, 16]));
    const run = (through: (x: Tensor) => Tensor) => {
      manualSeed(1);
      model.zeroGrad();
      x.grad = null;
      sum(through(x).mul(through(x))).backward();
      return [x, ...block.parameters()].map((p) => p.grad!.dataSync());
    };
    const plain = run((t) => block.forward(t));
    const kept = run((t) => checkpoint((u) => block.forward(u), t));
    plain.forEach((g, i) => {
      g.forEach((v, e) => {
        expect(Math.abs(v - kept[i]![e]!)).toBeLessThan(1e-4 * Math.max(1, Math.abs(v)));
      });
    });
  });

  it('writes on, the same for the same seed', async () => {
    const model = new GPT(small);
    const start = ids(2, 3);
    const one = await model.generate(start, { tokens: 12, seed: 5 });
    expect(one.shape).toEqual([2, 15]);
    const text = one.dataSync();
    expect([...text.subarray(0, 3)]).toEqual([...start.dataSync().subarray(0, 3)]);
    expect(text.every((t) => t >= 0 && t < 11)).toBe(true);
    expect((await model.generate(start, { tokens: 12, seed: 5 })).dataSync()).toEqual(text);
    expect((await model.generate(start, { tokens: 12, seed: 6 })).dataSync()).not.toEqual(text);
    expect(model.training).toBe(true);
    const greedy = await model.generate(start, { tokens: 4, temperature: 0 });
    expect((await model.generate(start, { tokens: 4, topK: 1, seed: 9 })).dataSync()).toEqual(
      greedy.dataSync(),
    );
    const logits = noGrad(() => model.eval().forward(start)).dataSync();
    const last = [...logits.subarray(22, 33)];
    expect(greedy.dataSync()[3]).toBe(last.indexOf(Math.max(...last)));
    await refuses(() => model.generate(start, { tokens: -1 }), 'ATTN_ARGUMENT');
    await refuses(() => model.generate(start, { tokens: 1, temperature: -1 }), 'ATTN_ARGUMENT');
    await refuses(() => model.generate(tensor([1]), { tokens: 1 }), 'ATTN_SHAPE');
  });

  it('takes one token, and an empty batch', () => {
    const model = new GPT({ ...small, positions: 'rope' });
    expect(model.forward(ids(3, 1)).shape).toEqual([3, 1, 11]);
    expect(model.forward(tensor(new Int32Array(0), [0, 8])).shape).toEqual([0, 8, 11]);
    model.loss(ids(3, 1), ids(3, 1)).backward();
    expect(model.parameters().every((p) => p.grad)).toBe(true);
  });

  it('refuses what does not fit', async () => {
    const model = new GPT(small);
    await refuses(() => model.forward(ids(1, 9)), 'ATTN_SHAPE', /length up to 8/);
    await refuses(() => model.forward(tensor([1, 2])), 'ATTN_SHAPE');
    await refuses(() => model.loss(ids(1, 4), ids(1, 5)), 'ATTN_SHAPE');
    await refuses(() => model.forward(tensor(Int32Array.of(11), [1, 1])).data(), 'ATTN_INDEX');
    await refuses(() => model.loss(ids(1, 1), tensor(Int32Array.of(11), [1, 1])).data(), 'ATTN_INDEX');
    await refuses(() => new GPT({ ...small, dim: 15 }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, layers: 0 }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, dropout: 1 }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, positions: 'alibi' as never }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, norm: 'batch' as never }), 'ATTN_ARGUMENT');
  });
});
