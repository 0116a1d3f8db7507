/** Texts: drawn from the logits of a model, whole or token by token. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { manualSeed, noGrad } from '../src/index.js';
import { GPT } from '../src/model/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise } from './support/layers.js';
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

describe('a text', () => {
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
    // What a cache remembers is given back once the window slides.
    const held: number[] = [];
    for await (const _ of model.stream(start, options)) held.push(runtime.tensors);
    expect(held.at(-1)).toBeLessThan(held[0]!);
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

  it('leaves the model in its own mode while logits are waited for', async () => {
    for (const [config, options] of [
      [{}, {}],
      [{ objective: 'all' }, { exit: 0.9999 }],
    ] as const) {
      const model = new GPT({ ...small, ...config, dropout: 0.5 });
      const alone = await model.generate(ids(1, 3), { tokens: 6, ...options });
      const both = [4, 6].map((tokens) => model.generate(ids(1, 3), { tokens, ...options }));
      expect(model.training).toBe(true);
      const looks = async () => {
        for (let i = 0; i < 20; i++) {
          expect(model.training).toBe(true);
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      await Promise.all([looks(), ...both]);
      expect(model.training).toBe(true);
      expect((await both[1]!).dataSync()).toEqual(alone.dataSync());
    }
  });

  it('draws by its distribution, from the nucleus and the greatest alone', async () => {
    const model = new GPT({ ...small, tied: false });
    const start = ids(1, 4);
    noGrad(() => {
      const logits = noise(11, 3).map((v) => 2 * v);
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
});
