/** GPT in all its kinds: it learns, decodes, and refuses what does not fit. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attentionKinds } from '../src/attention/registry.js';
import { checkpoint, manualSeed, noGrad, scope, sum } from '../src/index.js';
import { GPT, type GPTConfig } from '../src/model/index.js';
import { init, Parameter } from '../src/nn/index.js';
import { AdamW } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';
import { ids, small } from './support/small-gpt.js';

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
