/** Whole training runs: the same on both sides, the same twice, and no more memory after a thousand steps than after three. */
import { afterEach, describe, expect, it } from 'vitest';
import { AdamW, autocast, GPT, type Module, manualSeed, scope, tensor } from '../src/index.js';
import { Runtime, type RuntimeOptions, useRuntime } from '../src/runtime/runtime.js';
import { cpu, vulkan } from './support/sides.js';

const LENGTH = 64;

/** Sequences that are learnt quickly: each token follows from the one before it. */
function batch(step: number, size: number): { ids: Int32Array; labels: Int32Array } {
  const ids = new Int32Array(size * LENGTH);
  const labels = new Int32Array(size * LENGTH);
  for (let b = 0; b < size; b++) {
    let token = (7 * step + 11 * b) % 61;
    for (let t = 0; t < LENGTH; t++) {
      ids[b * LENGTH + t] = token;
      token = (3 * token + 1) % 61;
      labels[b * LENGTH + t] = token;
    }
  }
  return { ids, labels };
}

interface Run {
  size: number;
  half?: boolean;
  dropout?: number;
}

/** A small GPT with its optimiser, and a function that takes one step and gives the loss. */
function trainer({ size, half, dropout = 0 }: Run) {
  manualSeed(1);
  const model = new GPT({ vocab: 64, layers: 2, dim: 64, heads: 4, length: LENGTH, dropout });
  const optimizer = new AdamW(model.parameters(), { lr: 3e-3, maxNorm: 1 });
  let step = 0;
  const take = () =>
    scope(() => {
      const { ids, labels } = batch(step++, size);
      const shape = [size, LENGTH];
      const forward = () => model.loss(tensor(ids, shape), tensor(labels, shape));
      const loss = half ? autocast('bfloat16', forward) : forward();
      loss.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return loss.item();
    });
  return { model, optimizer, take };
}

let runtime: Runtime | undefined;
const on = (options: RuntimeOptions): Runtime => {
  runtime = new Runtime(options);
  useRuntime(runtime);
  return runtime;
};
afterEach(() => {
  useRuntime(undefined);
  runtime?.dispose();
});

async function losses(options: RuntimeOptions, run: Run, steps: number): Promise<number[]> {
  const here = on(options);
  const { take } = trainer(run);
  const seen: number[] = [];
  for (let i = 0; i < steps; i++) seen.push(await take());
  useRuntime(undefined);
  here.dispose();
  return seen;
}

const weights = (model: Module) =>
  Promise.all([...model.namedParameters()].map(async ([, p]) => (await p.data()).slice()));

describe('training', () => {
  it('learns', async () => {
    const seen = await losses(cpu.options, { size: 8 }, 60);
    expect(seen[0]).toBeCloseTo(Math.log(64), 0);
    expect(seen.at(-1)!).toBeLessThan(seen[0]! / 2);
  });

  it.each([
    { half: false, dropout: 0.1 },
    { half: true, dropout: 0 },
  ])('is the same twice, bit by bit: %o', async (run) => {
    const once = async () => {
      on(cpu.options);
      const { model, take } = trainer({ size: 4, ...run });
      for (let i = 0; i < 10; i++) await take();
      const result = await weights(model);
      runtime!.dispose();
      return result;
    };
    expect(await once()).toEqual(await once());
  });

  it.skipIf(!vulkan)(
    'gives the same losses on Vulkan as on the CPU, with every op there',
    { timeout: 300_000 },
    async () => {
      const wanted = await losses(cpu.options, { size: 2 }, 20);
      const here = on({ ...vulkan!.options, validate: true });
      const { take } = trainer({ size: 2 });
      const got = [await take()];
      const { opsCpu } = here.stats(); // of the self-tests, which compare with the CPU
      for (let i = 1; i < 20; i++) got.push(await take());
      expect(here.stats().opsCpu).toBe(opsCpu);
      expect(here.takeMessages()).toEqual([]);
      for (const [i, loss] of got.entries())
        expect(Math.abs(loss - wanted[i]!) / wanted[i]!, `step ${i}: ${loss}, ${wanted[i]}`).toBeLessThan(
          1e-4,
        );
    },
  );

  it('holds the same memory from the third step on', async () => {
    const here = on(cpu.options);
    const { take } = trainer({ size: 4, dropout: 0.1 });
    const seen: object[] = [];
    for (let i = 0; i < 60; i++) {
      await take();
      const { buffers, host } = here.stats();
      if (i >= 3) seen.push({ tensors: here.tensors, buffers, live: host.live, pooled: host.pooled });
    }
    for (const later of seen) expect(later).toEqual(seen[0]);
  });
});
