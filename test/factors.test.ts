/** The kinds with factorised weights (tt) and factorised heads (tpa): what they promise beyond the contract. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ttMatrix } from '../src/geometry/tensor-train.js';
import {
  AdamW,
  autocast,
  FlashAttention,
  init,
  MultiHeadAttention,
  manualSeed,
  noGrad,
  permute,
  Rotary,
  sum,
  TensorProductAttention,
  TensorTrainAttention,
} from '../src/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { type Tensor, tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { noise, outputOf, sequence, worst } from './support/layers.js';
import { cpu, sides } from './support/sides.js';

/** How often each op ran in `fn`. */
async function countsOf(runtime: Runtime, fn: () => unknown): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { op, count } of await runtime.profile(fn)) counts[op] = (counts[op] ?? 0) + count;
  return counts;
}

describe.each(sides)('tensor products on $side', ({ options }) => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
    manualSeed(4);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  /** tpa whose factors over heads are the same for every token, and whose factors over channels are `of`'s heads. */
  function oneHot(of: MultiHeadAttention | FlashAttention, groups: number): TensorProductAttention {
    const { dim, heads, headDim } = of.config;
    const layer = new TensorProductAttention({ dim, heads, ranks: [heads, groups, groups] });
    const constants = [heads, groups, groups].flatMap((R) =>
      Array.from({ length: heads * R }, (_, i) =>
        Math.floor(Math.floor(i / R) / (heads / R)) === i % R ? R : 0,
      ),
    );
    expect(layer.a.weight.shape).toEqual([constants.length, dim]);
    expect(layer.b.weight.shape).toEqual([(heads + 2 * groups) * headDim, dim]);
    noGrad(() =>
      layer.loadStateDict({
        'a.weight': init.zeros(layer.a.weight.shape),
        'a.bias': tensor(constants),
        'b.weight': of.qkv.weight,
        'b.bias': of.qkv.bias!,
        'out.weight': of.out.weight,
        'out.bias': of.out.bias!,
      }),
    );
    return layer;
  }

  it.each([[4], [2], [1]])(
    'with one-hot factors of rank %i for keys and values it is grouped attention',
    (groups) =>
      scope(() => {
        const config = { dim: 32, heads: 4 };
        const of =
          groups === 4 ? new MultiHeadAttention(config) : new FlashAttention({ ...config, kvHeads: groups });
        const layer = oneHot(of, groups);
        const rope = new Rotary({ dim: 8 });
        for (const call of [{}, { rope }]) {
          const x = sequence(2, 21, 32);
          expect(worst(outputOf(layer, x, call), outputOf(of, x, call))).toBeLessThan(1e-6);
        }
      }),
  );

  it('decodes prompts and single tokens from the factors', async () => {
    const layer = new TensorProductAttention({ dim: 32, heads: 4, ranks: [3, 2, 2], window: 30 });
    const rope = new Rotary({ dim: 8 });
    const x = noise(50 * 32);
    const part = (from: number, to: number) => tensor(x.subarray(from * 32, to * 32), [1, to - from, 32]);
    const whole = outputOf(layer, part(0, 50), { rope });
    using cache = layer.newCache(1);
    for (const [from, to] of [[0, 20], [20, 40], [40, 49], [49, 50]] as const) // biome-ignore format: cuts
      expect(
        worst(outputOf(layer, part(from, to), { rope, cache }), whole.subarray(from * 32, to * 32)),
      ).toBeLessThan(1e-5);
    const counts = await countsOf(runtime, () => outputOf(layer, part(0, 1), { rope, cache }));
    expect(counts.matmul).toBe(3); // keys and values are never made
    expect(counts).not.toHaveProperty('tensor_product');
    expect(counts).not.toHaveProperty('attention');
  });
});

describe('tensor products', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
    manualSeed(4);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each([
    [1, 0.141],
    [2, 0.281],
    [4, 0.562],
  ])('at R = %i the cache is %d of that of all heads', (R, ratio) => {
    // biome-ignore format: pairs
    const config = { dim: 512, heads: 8 };
    const layer = new TensorProductAttention({ ...config, ranks: [6, R, R] });
    const bytes = [layer, new MultiHeadAttention(config)].map((of) => {
      using cache = of.newCache(1);
      outputOf(of, sequence(1, 3, 512), { cache });
      expect(cache.length).toBe(3);
      return cache.bytes;
    });
    expect(bytes[0]).toBe(3 * 4 * 2 * R * (8 + 64));
    expect(Math.abs(bytes[0]! / bytes[1]! - ratio)).toBeLessThan(5.1e-4);
  });

  it('keeps factors for the gradient, not heads', () => {
    const [T, heads, D] = [4096, 8, 16];
    const config = { dim: heads * D, heads, bias: false };
    const layer = new TensorProductAttention({ ...config, ranks: [2, 2, 2] });
    const x = sequence(1, T, heads * D);
    const rope = new Rotary({ dim: D, length: T });
    const before = runtime.memory().host.live;
    const y = scope(() => layer.forward(x, { rope }));
    const kept = runtime.memory().host.live - before;
    const [factors, results, stats] = [6 * (heads + D), 2 * heads * D, heads]; // a and b; o and y; log-sum-exps
    expect(kept / (4 * T)).toBeGreaterThanOrEqual(factors + results + stats);
    expect(kept / (4 * T)).toBeLessThan(1.02 * (factors + results + stats));
    sum(y).backward();
    expect(Math.max(...(layer.a.weight.grad!.dataSync() as Float32Array))).toBeGreaterThan(0);
  });

  it('refuses ranks that heads do not have, by name', async () => {
    const make = (more: object) => () => new TensorProductAttention({ dim: 16, heads: 4, ...more });
    const refuses = async (more: object, says: RegExp) =>
      expectTyped(await failureOf(make(more)), { code: 'ATTN_ARGUMENT', op: 'TensorProductAttention', says });
    await refuses({ ranks: [2, 5, 1] }, /ranks are \[2,5,1\][\s\S]*from 1 to 4/);
    await refuses({ ranks: [3, 1, 1], headDim: 2 }, /from 1 to 2/);
    await refuses({ ranks: [1, 0, 1] }, /ranks\.1 is 0/);
    await refuses({ ranks: [1, 1, 1.5] }, /ranks\.2 is 1.5/);
    await refuses({ ranks: 2 }, /ranks is 2/);
    expect(make({ ranks: [9, 1, 1], kvOnly: true })().ranks.q).toBe(0);
  });
});

describe('tensor trains', () => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(cpu.options);
    useRuntime(runtime);
    manualSeed(4);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  const base = { dim: 32, heads: 4, rank: 6 };
  const lossOf = (layer: TensorTrainAttention, seed = 1) =>
    sum(layer.forward(sequence(2, 5, 32, seed)).mul(sequence(2, 5, 32, 9)));
  const gradsOf = (layer: TensorTrainAttention) =>
    layer.parameters().map((p) => p.grad!.dataSync() as Float32Array);

  it('contracts the cores once a step, and not again while they stay', async () => {
    const layer = new TensorTrainAttention({ ...base, shareCores: true });
    const optimizer = new AdamW(layer.parameters(), { lr: 1e-2 });
    const step = () => scope(() => lossOf(layer).backward());
    const contractions = async (fn: () => unknown) => (await countsOf(runtime, () => scope(fn))).matmul ?? 0;
    // One bond, so one product for each of the two weights.
    expect(await contractions(() => lossOf(layer))).toBe(2);
    expect(await contractions(() => lossOf(layer))).toBe(0);
    expect(await contractions(() => noGrad(() => lossOf(layer)))).toBe(0);
    step();
    optimizer.step();
    optimizer.zeroGrad();
    expect(await contractions(() => noGrad(() => lossOf(layer)))).toBe(2);
    expect(await contractions(() => lossOf(layer))).toBe(0);
    optimizer.dispose();
  });

  it('accumulates the gradient that a fresh contraction has', () => {
    const layer = new TensorTrainAttention(base);
    const single = [1, 2].map((seed) => {
      const fresh = new TensorTrainAttention(base);
      fresh.loadStateDict(layer.stateDict());
      lossOf(fresh, seed).backward();
      return gradsOf(fresh);
    });
    lossOf(layer, 1).backward();
    lossOf(layer, 2).backward(); // the graph of the first contraction is spent
    gradsOf(layer).forEach((g, i) => {
      const wanted = g.map((_, e) => single[0]![i]![e]! + single[1]![i]![e]!);
      expect(worst(g, wanted) / Math.max(...wanted.map(Math.abs))).toBeLessThan(1e-5);
    });
  });

  it('is never stale: after a step, a load, and under another optimiser', () => {
    const layer = new TensorTrainAttention(base);
    const x = sequence(1, 6, 32);
    const dense = () => {
      const fresh = new TensorTrainAttention(base);
      fresh.loadStateDict(layer.stateDict());
      return outputOf(fresh, x);
    };
    const seen = [outputOf(layer, x)];
    const check = () => {
      const y = outputOf(layer, x);
      expect(y).toEqual(dense());
      for (const before of seen) expect(y).not.toEqual(before);
      seen.push(y);
    };
    const optimizer = new AdamW(layer.parameters(), { lr: 1e-2 });
    expect(outputOf(layer, x)).toEqual(seen[0]); // the cores moved into an arena, unchanged
    lossOf(layer).backward();
    optimizer.step();
    check();
    layer.loadStateDict(new TensorTrainAttention(base).stateDict());
    check();
    optimizer.dispose();
    const other = new AdamW(layer.parameters(), { lr: 1e-1 });
    lossOf(layer).backward();
    other.step();
    check();
    other.dispose();
  });

  it('contracts in float32 under autocast, where gradients are float32 too', () => {
    const layer = new TensorTrainAttention(base);
    const w = layer.qkv.weight();
    const fresh = new TensorTrainAttention(base);
    fresh.loadStateDict(layer.stateDict());
    const there = autocast('bfloat16', () => fresh.qkv.weight());
    expect(there.dataSync()).toEqual(w.dataSync());
    autocast('bfloat16', () => lossOf(fresh)).backward();
    expect(fresh.parameters().every((p) => p.grad!.dtype === 'float32')).toBe(true);
  });

  it('begins with the variance of the init, at 1 / in by default, and learns from one of zeros', () => {
    const big = { dim: 256, heads: 4, rank: 16 };
    const variance = (w: Tensor) => sum(w.mul(w)).itemSync() / w.size;
    const byDefault = new TensorTrainAttention(big);
    expect(Math.abs(variance(byDefault.qkv.weight()) * 256 - 1)).toBeLessThan(0.1);
    const small = new TensorTrainAttention(big, { init: init.normal(0.02), outInit: init.zeros });
    expect(Math.abs(variance(small.qkv.weight()) / 0.02 ** 2 - 1)).toBeLessThan(0.1);
    expect(variance(small.out.weight())).toBe(0);
    sum(small.forward(sequence(1, 4, 256))).backward();
    expect(variance(small.out.cores.at(-1)!.grad!)).toBeGreaterThan(0);
  });

  it('begins at a dense matrix by TT-SVD, exactly where the rank allows', () => {
    const drawn: Float32Array[] = [];
    const spy: typeof init.zeros = (shape) => {
      const w = init.normal(0.1)(shape);
      drawn.push(w.dataSync() as Float32Array);
      return w;
    };
    const layer = new TensorTrainAttention({ dim: 16, heads: 2, rank: 16, init: 'svd' }, { init: spy });
    const [q, k, v, out] = drawn;
    expect(worst(layer.qkv.weight().dataSync() as Float32Array, [...q!, ...k!, ...v!])).toBeLessThan(1e-6);
    expect(worst(layer.out.weight().dataSync() as Float32Array, out!)).toBeLessThan(1e-6);
  });

  it.each([{}, { kvHeads: 2, window: 3, alibi: true }, { shareCores: true, kvHeads: 2, causal: false }])(
    'is flash with the matrices of its cores: %j',
    (own) => {
      const layer = new TensorTrainAttention({ ...base, ...own });
      const { shareCores: _, ...common } = { shareCores: false, ...own };
      const flash = new FlashAttention({ dim: 32, heads: 4, ...common });
      flash.loadStateDict({
        'qkv.weight': layer.qkv.weight(),
        'qkv.bias': layer.qkv.bias!,
        'out.weight': layer.out.weight(),
        'out.bias': layer.out.bias!,
      });
      const call = { rope: new Rotary({ dim: 8 }) };
      const x = sequence(2, 9, 32);
      expect(worst(outputOf(layer, x, call), outputOf(flash, x, call))).toBeLessThan(1e-6);
    },
  );

  it('ends with everything that it kept', async () => {
    await runtime.sync();
    const before = runtime.stats().buffers;
    const layer = scope(() => {
      const made = new TensorTrainAttention(base);
      lossOf(made).backward();
      noGrad(() => lossOf(made));
      return made;
    });
    layer.dispose();
    expect(runtime.stats().buffers).toBe(before);
  });

  it('lowers scores by distance where asked, as flash does', () => {
    const x = sequence(1, 9, 32);
    for (const Kind of [TensorTrainAttention, FlashAttention]) {
      const [plain, far] = [false, true].map((alibi) => {
        manualSeed(7);
        return outputOf(new Kind({ dim: 32, heads: 4, alibi }), x);
      });
      expect(far!.subarray(0, 32)).toEqual(plain!.subarray(0, 32)); // the first token has no distance to go
      expect(worst(far!, plain!)).toBeGreaterThan(1e-3);
    }
  });

  it('shares all cores but the first between queries, keys and values', () => {
    const layer = new TensorTrainAttention({
      dim: 64,
      heads: 4,
      kvHeads: 2,
      rank: 5,
      shareCores: true,
      modes: [4, 4, 4],
    });
    const [own, ...shared] = layer.qkv.cores;
    expect(own!.shape).toEqual([1, 4 + 2 + 2, 4, 5]);
    const apart = (from: number, n: number) => {
      const rows = permute(own!, { axes: [1, 0, 2, 3] }).slice({ starts: [from], ends: [from + n] });
      return ttMatrix([permute(rows, { axes: [1, 0, 2, 3] }), ...shared]).dataSync() as Float32Array;
    };
    const parts = [apart(0, 4), apart(4, 2), apart(6, 2)].flatMap((part) => [...part]);
    expect(worst(layer.qkv.weight().dataSync() as Float32Array, parts)).toBeLessThan(1e-6);
  });

  it('refuses ranks, modes and sharing that the sizes do not allow, by name', async () => {
    const make = (more: object) => () => new TensorTrainAttention({ dim: 64, heads: 4, ...more });
    const refuses = async (more: object, says: RegExp) =>
      expectTyped(await failureOf(make(more)), { code: 'ATTN_ARGUMENT', op: 'TensorTrainAttention', says });
    await refuses({ rank: 65 }, /rank is 65[\s\S]*from 1 to 64/);
    await refuses({ rank: 0 }, /rank is 0/);
    await refuses({ modes: [8, 9] }, /modes are \[8,9\][\s\S]*product is dim, 64/);
    await refuses({ modes: [2, 2, 2, 2, 4] }, /modes is \[2,2,2,2,4\]/);
    await refuses({ modes: [] }, /modes is \[\]/);
    await refuses({ init: 'xavier' }, /init is 'xavier'/);
    await refuses({ shareCores: true, modes: [64] }, /shareCores is true/);
    await refuses({ shareCores: true, modes: [2, 32], kvHeads: 1 }, /kvHeads is 1 of 4/);
  });
});
