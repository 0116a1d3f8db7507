/** What is alive, for how long, and what happens when there is no room. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { add, fill, matmul, sum, uniform } from '../src/index.js';
import { Runtime, type RuntimeOptions, useRuntime } from '../src/runtime/runtime.js';
import { scope } from '../src/tensor/scope.js';
import { tensor } from '../src/tensor/tensor.js';
import { child } from './support/child.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu, type Side, sides, vulkan } from './support/sides.js';

const MiB = 2 ** 20;

let runtime: Runtime;
function open(side: Side, options: RuntimeOptions = {}): void {
  runtime = new Runtime({ ...side.options, ...options });
  useRuntime(runtime);
}
afterEach(() => {
  useRuntime(undefined);
  runtime.dispose();
});

/** Figures of the side that computes. */
const figures = (side: Side) => {
  const { host, device } = runtime.stats();
  return side.side === 'cpu' ? host : device!;
};
/** A tensor of so many MiB. */
const block = (mib: number, value = 1) => fill({ shape: [mib * 2 ** 18], value });
const alive = () => {
  const { tensors, host, device } = runtime.memory();
  return { tensors, buffers: runtime.stats().buffers, host: host.live, device: device?.live };
};

const budgets: [Side, RuntimeOptions, number][] = [[cpu, { hostBudget: 16 * MiB }, 16]];
if (vulkan) budgets.push([vulkan, { deviceBudget: 48 * MiB }, 48]);

describe.each(budgets)('out of memory on $side', (side, options, budget) => {
  beforeEach(() => open(side, options));
  const wanted = { code: 'ATTN_OUT_OF_MEMORY', op: 'fill', says: /requested .*in use.*budget/ };

  it('is told by the read, through everything that came of it, and work goes on', async () => {
    const x = tensor([1, 2, 3]);
    const one = add(x, 1);
    await runtime.sync();
    const before = alive();

    const big = block(4 * budget);
    const shifted = add(big, 1);
    const derived = sum(shifted);
    const beside = add(x, 10); // in the same block, and none of its business
    const error = expectTyped(await failureOf(() => derived.data()), wanted);
    expect(error.message).toContain(String(side.side === 'cpu' ? 4 * budget * MiB : `${4 * budget} MiB`));
    expectTyped(await failureOf(() => big.data()), wanted);
    expectTyped(await failureOf(() => derived.dataSync()), wanted);
    expect(await beside.data()).toEqual(new Float32Array([11, 12, 13]));
    await runtime.sync(); // told already

    for (const t of [big, shifted, derived, beside]) t.dispose();
    await runtime.sync();
    expect(alive()).toEqual(before);
    expect(await add(one, 1).data()).toEqual(new Float32Array([3, 4, 5]));
  });

  it('that nobody reads appears at sync(), once', async () => {
    const before = alive();
    scope(() => void add(block(4 * budget), 1));
    expectTyped(await failureOf(() => runtime.sync()), wanted);
    await runtime.sync();
    expect(alive()).toEqual(before);
    expect(await add(tensor([1]), 1).data()).toEqual(new Float32Array([2]));
  });

  it('ends when tensors are disposed', async () => {
    const first = block(budget / 2);
    expect((await sum(first).data())[0]).toBe((budget / 2) * 2 ** 18);
    const second = block((budget * 3) / 4);
    expectTyped(await failureOf(() => sum(second).data()), wanted);
    first.dispose();
    second.dispose();
    const third = block((budget * 3) / 4);
    expect((await sum(third).data())[0]).toBe(((budget * 3) / 4) * 2 ** 18);
  });
});

describe('uploads beyond the host budget', () => {
  beforeEach(() => open(cpu, { hostBudget: 8 * MiB }));

  it('fail at once, with a hint', async () => {
    const before = alive();
    const error = await failureOf(() => tensor(new Float32Array(4 * MiB)));
    expectTyped(error, { code: 'ATTN_OUT_OF_MEMORY', op: 'tensor', says: /requested 16777216 .* 8388608/ });
    expect(alive()).toEqual(before);
  });

  it('one after another fit, as each is disposed before the next', async () => {
    const values = new Float32Array(MiB / 2);
    for (let i = 0; i < 20; i++) tensor(values).dispose();
    expect(alive()).toMatchObject({ tensors: 0, host: 0, buffers: 0 });
  });
});

describe.each(sides)('on $side', (side) => {
  beforeEach(() => open(side));

  it('temporaries go at their last use', async () => {
    const size = 4 * MiB;
    const x = block(4);
    await runtime.sync();
    runtime.trim();
    const start = figures(side).live;
    const y = scope(() => {
      let t = add(x, 1);
      for (let i = 0; i < 30; i++) t = add(t, 1); // all of them alive in JavaScript
      return t;
    });
    expect((await y.data())[7]).toBe(32);
    // Two alive at a time, in size classes with at most a quarter of slack; 31 without early frees.
    expect(figures(side).peak - start).toBeLessThanOrEqual(3 * size);
    expect(figures(side).peak - start).toBeGreaterThanOrEqual(2 * size);
  });

  it('freed memory is used again, and trim() returns it', async () => {
    const round = () =>
      scope(async () => {
        let t = block(2);
        for (let i = 0; i < 10; i++) t = add(t, t);
        return (await sum(t).data())[0];
      });
    const first = await round();
    const held = figures(side);
    for (let i = 0; i < 5; i++) expect(await round()).toBe(first);
    const after = figures(side);
    expect(after.live).toBe(held.live);
    expect(after.pooled).toBe(held.pooled);
    expect(after.pooled).toBeGreaterThan(0);
    runtime.trim();
    expect(figures(side).pooled).toBe(0);
    expect(await round()).toBe(first);
  });

  it('many blocks like those of training do not grow it', async () => {
    const w = fill({ shape: [16, 16], value: 1 / 16 });
    const block = () =>
      scope(() => {
        let t = fill({ shape: [16, 16], value: 1 });
        for (let i = 0; i < 12; i++) t = add(matmul(t, w), 0.5);
        return sum(t).data();
      });
    for (let i = 0; i < 30; i++) await block();
    const { host, device, buffers } = runtime.stats();
    for (let i = 0; i < 120; i++) await block();
    const after = runtime.stats();
    expect({ live: after.host.live, buffers: after.buffers }).toEqual({ live: host.live, buffers });
    // How many uploads are on their way at a time is a matter of luck: a block each.
    expect(after.host.pooled).toBeLessThanOrEqual(host.pooled + 4096);
    expect(after.device?.slabs).toBe(device?.slabs);
    expect(after.device?.live).toBe(device?.live);
  });

  it('attributes that never repeat do not fill it with prepared ops', async () => {
    const draw = async (seed: number) => {
      const t = uniform({ shape: [3], seed });
      const values = await t.data();
      t.dispose();
      return [...values];
    };
    const first = await draw(0);
    for (let seed = 1; seed < 2500; seed++) uniform({ shape: [3], seed }).dispose();
    const kept = Math.max(...runtime.memo.filter(Boolean).map((memo) => memo.size));
    expect(kept).toBeLessThanOrEqual(1024);
    // Seed 0 was forgotten meanwhile and its number names another op: made again, it gives the same values.
    expect(await draw(0)).toEqual(first);
    expect(await draw(2499)).not.toEqual(first);
  });

  it('memory() counts tensors, and reshape shares storage', async () => {
    const before = alive();
    const x = block(1, 3);
    await runtime.sync();
    const one = alive();
    expect(one.tensors).toBe(before.tensors + 1);
    const y = x.reshape([512, -1]);
    const z = y.reshape([-1]);
    expect(alive()).toEqual({ ...one, tensors: before.tensors + 3 });
    x.dispose();
    x.dispose(); // twice is once
    expect(alive()).toEqual({ ...one, tensors: before.tensors + 2 });
    expect(y.shape).toEqual([512, 512]);
    expect((await y.data())[1000]).toBe(3);
    y.dispose();
    const next = scope(() => add(z, 1));
    expect((await next.data())[5]).toBe(4);
    z.dispose();
    next.dispose();
    expect(alive()).toEqual(before);
  });

  it('a tensor that is disposed before it was computed is computed for those that need it', async () => {
    const x = tensor([1, 2]);
    const y = add(x, 1);
    const z = add(y, 1);
    x.dispose();
    y.dispose();
    expect(await z.data()).toEqual(new Float32Array([3, 4]));
    const read = z.data();
    z.dispose(); // while it is read
    expect(await read).toEqual(new Float32Array([3, 4]));
    expect(alive()).toMatchObject({ tensors: 0, buffers: 0 });
  });
});

describe('the garbage collector', () => {
  beforeEach(() => open(cpu));

  it('brings back tensors that nobody disposed', async () => {
    const ended = await child(
      `
      const { add, memory, tensor, runtime, sync } = attn;
      const used = tensor([1]);
      gc(); // of what loading the package left, so that no collection comes between
      (() => { for (let i = 0; i < 300; i++) add(used, i).reshape([1, 1]); })();
      await sync();
      const before = { tensors: memory().tensors, buffers: runtime().stats().buffers };
      for (let i = 0; i < 100 && memory().tensors > 1; i++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(JSON.stringify({ before, after: { tensors: memory().tensors, buffers: runtime().stats().buffers },
        value: (await used.data())[0] }));`,
      { flags: ['--expose-gc'], env: { ATTN_VK_ROUTE: 'cpu' } },
    );
    expect(ended.json()).toEqual({
      before: { tensors: 601, buffers: 301 },
      after: { tensors: 1, buffers: 1 },
      value: 1,
    });
  });

  it('does not take a runtime whose work is awaited', async () => {
    const ended = await child(
      `
      const { matmul, uniform, Runtime, useRuntime } = attn;
      const begin = () => {
        const before = useRuntime(new Runtime({ device: 'none' }));
        let t = uniform({ shape: [512, 512] });
        for (let i = 0; i < 60; i++) t = matmul(t, t);
        const result = t.data().then((d) => d.length, String);
        useRuntime(before);
        return result;
      };
      const results = [begin(), begin()];
      for (let i = 0; i < 20; i++) { gc(); await new Promise((resolve) => setTimeout(resolve, 2)); }
      console.log(JSON.stringify(await Promise.all(results)));`,
      { flags: ['--expose-gc'] },
    );
    expect(ended.json()).toEqual([512 * 512, 512 * 512]);
    expect(ended.code).toBe(0);
  });
});
