/** GPT in all its kinds: it learns, writes, and refuses what does not fit. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attentionKinds } from '../src/attention/registry.js';
import { checkpoint, manualSeed, noGrad, scope, sum } from '../src/index.js';
import { GPT, type GPTConfig } from '../src/model/index.js';
import { init, Parameter } from '../src/nn/index.js';
import { AdamW } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise as noiseOf } from './support/layers.js';
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

const small: GPTConfig = { vocab: 11, layers: 2, dim: 16, heads: 4, length: 8 };
const ids = (batch: number, length: number, step = 3) =>
  tensor(
    Int32Array.from({ length: batch * length }, (_, i) => (i * step + 1) % 11),
    [batch, length],
  );

describe('GPT', () => {
  const kinds: Partial<GPTConfig>[] = [
    {},
    {
      norm: 'rms',
      mlp: 'swiglu',
      positions: 'rope',
      bias: false,
      attention: { kind: 'flash', kvHeads: 2 },
      tied: false,
    },
    { positions: 'sinusoidal', mlp: 'gelu_tanh', attention: { kind: 'flash', qkNorm: true } },
    { positions: 'none', mlp: 'relu', dropout: 0.2, hidden: 24 },
    { mlp: 'silu', attention: { kind: 'mha' }, tied: false },
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

  const inModels = attentionKinds.map(({ kind, supports, complexity }) => ({
    kind,
    decodes: complexity.cache !== null,
    config: {
      ...small,
      positions: supports.rope ? ('rope' as const) : ('learned' as const),
      attention: { kind, causal: supports.causal !== 'never' },
    },
  }));

  it.each(inModels)('takes attention of kind $kind', async ({ config }) => {
    const model = new GPT(config);
    const optimizer = new AdamW(model.parameters(), { lr: 1e-2, maxNorm: 1 });
    const losses: number[] = [];
    for (let step = 0; step < 12; step++)
      losses.push(
        await scope(async () => {
          const loss = model.loss(ids(4, 8), ids(4, 8, 5));
          loss.backward();
          optimizer.step();
          optimizer.zeroGrad();
          return loss.item();
        }),
      );
    expect(losses[11]!).toBeLessThan(losses[0]! - 0.3);
    expect(await optimizer.skippedSteps()).toBe(0);
    // A state dict is taken over whole.
    const other = new GPT(config);
    other.loadStateDict(model.stateDict());
    const y = (m: GPT) => noGrad(() => m.eval().forward(ids(2, 5)).dataSync());
    expect(y(other)).toEqual(y(model));
  });

  it.each(inModels.filter(({ decodes }) => decodes))(
    'writes from the cache of $kind what it writes without one',
    async ({ config }) => {
      const model = new GPT(config).eval();
      using cache = model.newCache(2);
      const logits = noGrad(() => [
        ...model.forward(ids(2, 5), { cache }).dataSync().subarray(44, 55),
        ...model.forward(ids(2, 1), { cache }).dataSync().subarray(0, 11),
      ]);
      expect(cache.length).toBe(6);
      const whole = tensor(Int32Array.from([1, 4, 7, 10, 2, 1]), [1, 6]);
      const wanted = noGrad(() => model.forward(whole).dataSync().subarray(44));
      logits.forEach((v, i) => {
        expect(Math.abs(v - wanted[i]!)).toBeLessThan(1e-5);
      });
      // Past the longest sequence the window slides.
      const start = ids(2, 3);
      const text = await model.generate(start, { tokens: 9, temperature: 0 });
      const slow = new GPT(config);
      slow.newCache = () => {
        throw new Error('not here');
      };
      Object.defineProperty(slow, 'decodes', { value: false });
      slow.loadStateDict(model.stateDict());
      expect((await slow.generate(start, { tokens: 9, temperature: 0 })).dataSync()).toEqual(text.dataSync());
      slow.dispose();
      await refuses(() => model.forward(ids(3, 1), { cache }), 'ATTN_ARGUMENT', /batch of 2/);
      await refuses(() => noGrad(() => model.forward(ids(2, 3), { cache })), 'ATTN_SHAPE', /length up to 2/);
    },
  );

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
    model.blocks[1]!.eval();
    await model.generate(start, { tokens: 1 });
    expect(model.blocks.map((b) => b.mlp!.training)).toEqual([true, false]);
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

  it('streams what it generates, and ends when its reader does', async () => {
    const model = new GPT({ ...small, dropout: 0.2, positions: 'rope' });
    const start = ids(1, 3);
    const options = { tokens: 9, seed: 4, temperature: 0.8, topK: 6, topP: 0.9 };
    const whole = [...(await model.generate(start, options)).dataSync()].slice(3);
    const read: number[] = [];
    for await (const token of model.stream(start, options)) {
      read.push(token);
      expect(model.training).toBe(true); // between tokens it is as it was
    }
    expect(read).toEqual(whole);
    // From the cache while it lasts, then from a window that slides: nine tokens after three, of eight that fit.
    const flat = start.reshape([3]);
    const again: number[] = [];
    const tensors = runtime.tensors;
    for await (const token of model.stream(flat, { ...options, tokens: undefined })) {
      again.push(token);
      if (again.length === 4) break;
    }
    expect(again).toEqual(whole.slice(0, 4));
    expect(runtime.tensors).toBe(tensors);
    for await (const _ of model.stream(start, { tokens: 0 })) throw new Error('no token was asked for');
    await refuses(() => model.stream(ids(2, 3)).next(), 'ATTN_SHAPE', /\[1, length\]/);
    await refuses(() => model.stream([1] as never).next(), 'ATTN_ARGUMENT');
    await refuses(() => model.stream(start, { tokens: 1.5 }).next(), 'ATTN_ARGUMENT', /tokens is 1.5/);
  });

  it('draws by its distribution, from the nucleus and the greatest alone', async () => {
    const model = new GPT({ ...small, tied: false });
    const start = ids(1, 4);
    noGrad(() => {
      const logits = noiseOf(11, 3).map((v) => 2 * v);
      const weight = new Float32Array(11 * 16); // channel 0 of the norm is its bias: 1
      logits.forEach((v, token) => {
        weight[16 * token] = v;
      });
      const gain = new Float32Array(16);
      const bias = new Float32Array(16).fill(1, 0, 1);
      model.loadStateDict(
        { 'norm.weight': tensor(gain), 'norm.bias': tensor(bias), 'head.weight': tensor(weight, [11, 16]) },
        { strict: false },
      );
    });
    const logits = [
      ...noGrad(() => model.forward(start))
        .dataSync()
        .subarray(33),
    ];
    const shares = (temperature: number) => {
      const e = logits.map((v) => Math.exp(v / temperature));
      const all = e.reduce((a, b) => a + b, 0);
      return e.map((v) => v / all);
    };
    const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!);
    const count = 400;
    const drawn = async (options: object) => {
      const batch = tensor(
        Int32Array.from({ length: count }, () => 1),
        [count, 1],
      );
      const text = await model.generate(batch, { tokens: 1, seed: 3, ...options });
      const counts = new Array<number>(11).fill(0);
      for (let b = 0; b < count; b++) counts[text.dataSync()[2 * b + 1]!]!++;
      return counts.map((n) => n / count);
    };
    for (const temperature of [1, 0.5]) {
      const [got, wanted] = [await drawn({ temperature }), shares(temperature)];
      got.forEach((share, token) => {
        expect(Math.abs(share - wanted[token]!)).toBeLessThan(0.08);
      });
    }
    const three = await drawn({ topK: 3 });
    expect([...three.keys()].filter((token) => three[token]! > 0).sort()).toEqual(order.slice(0, 3).sort());
    // The fewest that add up to topP, at least one.
    for (const topP of [1e-9, 0.3, 0.6, 0.95]) {
      const p = shares(1);
      let [sum, size] = [0, 0];
      while (sum < topP) sum += p[order[size++]!]!;
      const got = await drawn({ topP });
      for (const [rank, token] of order.entries()) if (rank >= size) expect(got[token]).toBe(0);
      const total = order.slice(0, size).reduce((a, token) => a + p[token]!, 0);
      for (const token of order.slice(0, size))
        expect(Math.abs(got[token]! - p[token]! / total)).toBeLessThan(0.1);
    }
  });

  it('says so where logits are not finite, and refuses other ways of drawing', async () => {
    const model = new GPT(small);
    const start = ids(1, 3);
    for (const [options, says] of [
      [{ temperature: Number.NaN }, /temperature is NaN/],
      [{ temperature: Number.POSITIVE_INFINITY }, /temperature is Infinity/],
      [{ topK: 0 }, /topK is 0/],
      [{ topK: 2.5 }, /topK is 2.5/],
      [{ topP: 0 }, /topP is 0/],
      [{ topP: 1.01 }, /topP is 1.01/],
      [{ seed: -1 }, /seed is -1/],
      [{ exit: 2 }, /exit is 2/],
      [{ exit: 0.5 }, /objective is 'last'/],
    ] as const) {
      await refuses(() => model.generate(start, { tokens: 1, ...options }), 'ATTN_ARGUMENT', says);
      await refuses(() => model.stream(start, { tokens: 1, ...options }).next(), 'ATTN_ARGUMENT', says);
    }
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = new GPT({ ...small, tied: false });
      const head = new Float32Array(11 * 16);
      head[16 * 7] = value;
      broken.loadStateDict({ 'head.weight': tensor(head, [11, 16]) }, { strict: false });
      for (const temperature of [0, 1])
        await refuses(
          () => broken.generate(start, { tokens: 3, temperature }),
          'ATTN_ARGUMENT',
          /logit of token \d+ is (NaN|-?Infinity)/,
        );
    }
  });

  it('takes one token, and an empty batch', async () => {
    const model = new GPT({ ...small, positions: 'rope' });
    expect(model.forward(ids(3, 1)).shape).toEqual([3, 1, 11]);
    expect(model.forward(tensor(new Int32Array(0), [0, 8])).shape).toEqual([0, 8, 11]);
    const nobody = await model.generate(tensor(new Int32Array(0), [0, 8]), { tokens: 2 });
    expect(nobody.shape).toEqual([0, 10]);
    model.loss(ids(3, 1), ids(3, 1)).backward();
    expect(model.parameters().every((p) => p.grad)).toBe(true);
  });

  it('refuses what does not fit', async () => {
    const model = new GPT(small);
    await refuses(() => model.forward([[1]] as never), 'ATTN_ARGUMENT', /'ids' must be a tensor/);
    await refuses(() => model.generate([[1]] as never, { tokens: 1 }), 'ATTN_ARGUMENT');
    await refuses(() => model.blocks[0]!.attention!.forward(1 as never), 'ATTN_ARGUMENT');
    const mask = tensor(new Uint8Array(6), [2, 3], { dtype: 'bool' });
    await refuses(() => model.loss(ids(2, 4), ids(2, 4), { mask }), 'ATTN_SHAPE', /mask is bool\[2,3\]/);
    await refuses(() => model.forward(ids(1, 9)), 'ATTN_SHAPE', /length up to 8/);
    await refuses(() => model.forward(tensor([1, 2])), 'ATTN_SHAPE');
    await refuses(() => model.loss(ids(1, 4), ids(1, 5)), 'ATTN_SHAPE');
    await refuses(() => model.forward(tensor(Int32Array.of(11), [1, 1])).data(), 'ATTN_INDEX');
    await refuses(() => model.loss(ids(1, 1), tensor(Int32Array.of(11), [1, 1])).data(), 'ATTN_INDEX');
    await refuses(() => new GPT({ ...small, dim: 15 }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, layers: 0 }), 'ATTN_ARGUMENT');
    const odd = { ...small, positions: 'rope', attention: { kind: 'tt', headDim: 5 } } as const;
    await refuses(() => new GPT(odd), 'ATTN_ARGUMENT', /'tt' has heads of 5 channels/);
    await refuses(() => new GPT({ ...small, dropout: 1 }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, positions: 'alibi' as never }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, norm: 'batch' as never }), 'ATTN_ARGUMENT');
    await refuses(() => new GPT({ ...small, attention: 'flash' as never }), 'ATTN_ARGUMENT', /kind: 'flash'/);
    await refuses(
      () => new GPT({ ...small, attention: { kind: 'flash', heads: 4 } as never }),
      'ATTN_ARGUMENT',
      /attention\.heads is unknown/,
    );
    await refuses(
      () => new GPT({ ...small, positions: 'rope', attention: { kind: 'hrr', causal: false } }),
      'ATTN_ARGUMENT',
      /'hrr' has no rotation/,
    );
    using cache = model.blocks[0]!.attention!.newCache();
    await refuses(() => model.forward(ids(1, 2), { cache: cache as never }), 'ATTN_ARGUMENT', /of a model/);
  });

  it.each(['flash', 'gla', 'simplicial'])(
    'where a layer of %s throws, no layer has seen the tokens',
    (kind) => {
      const model = new GPT({ ...small, attention: { kind } });
      using cache = model.newCache(2);
      const text = ids(2, 6);
      const part = (from: number, to: number) => text.slice({ starts: [0, from], ends: [2, to] });
      const step = (from: number, to: number) =>
        noGrad(() => model.forward(part(from, to), { cache }).dataSync());
      step(0, 3);
      const last = model.blocks[1]!.mlp as { forward: unknown };
      last.forward = () => {
        throw new RangeError('after the caches were written');
      };
      expect(() => step(3, 5)).toThrow(RangeError);
      delete (last as { forward?: unknown }).forward;
      expect(cache.layers.map((layer) => layer.length)).toEqual([3, 3]);
      const whole = noGrad(() => model.forward(text).dataSync());
      step(3, 6).forEach((v, i) => {
        expect(v).toBeCloseTo(whole[(Math.floor(i / 33) * 6 + 3) * 11 + (i % 33)]!, 5);
      });
    },
  );
});
