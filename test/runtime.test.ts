/** A runtime that cannot be had, or is of no use any more, says so with a typed error; so do its neighbours. */
import { describe, expect, it } from 'vitest';
import { add } from '../src/index.js';
import { setLogger } from '../src/runtime/log.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { keep, scope } from '../src/tensor/scope.js';
import { tensor } from '../src/tensor/tensor.js';
import { expectTyped, failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';

describe('runtimes', () => {
  it.each([
    ['an unknown route', { device: 'none', route: 'fast' as 'gpu' }, 'ATTN_ARGUMENT'],
    ["route 'gpu' of no device", { device: 'none', route: 'gpu' as const }, 'ATTN_DEVICE'],
    ['a device that is not there', { device: 99 }, 'ATTN_DEVICE'],
    ['a device of no such name', { device: 'no such device' }, 'ATTN_DEVICE'],
    ['a device that is an object', { device: {} as string }, 'ATTN_ARGUMENT'],
    [
      'a cache folder that is a number',
      { device: 'none', cacheFolder: 5 as unknown as string },
      'ATTN_ARGUMENT',
    ],
    ['null for options', null as unknown as object, 'ATTN_ARGUMENT'],
    ['a word for options', 'gpu' as unknown as object, 'ATTN_ARGUMENT'],
    ['no thread', { device: 'none', threads: 0 }, 'ATTN_ARGUMENT'],
    ['NaN threads', { device: 'none', threads: Number.NaN }, 'ATTN_ARGUMENT'],
    ['half a thread', { device: 'none', threads: 1.5 }, 'ATTN_ARGUMENT'],
    ['a million threads', { device: 'none', threads: 1e6 }, 'ATTN_ARGUMENT'],
    ['threads in words', { device: 'none', threads: 'two' as unknown as number }, 'ATTN_ARGUMENT'],
    ['a negative budget', { device: 'none', hostBudget: -1 }, 'ATTN_ARGUMENT'],
    ['a NaN budget', { device: 'none', hostBudget: Number.NaN }, 'ATTN_ARGUMENT'],
    ['a NaN budget of the device', { device: 'none', deviceBudget: Number.NaN }, 'ATTN_ARGUMENT'],
  ])('%s is refused', async (_, options, code) => {
    expectTyped(await failureOf(() => new Runtime(options)), { code });
  });

  it('foreign objects in its place, and in that of a scope, a logger, a tensor to keep', async () => {
    const foreign = 'x' as never;
    const code = 'ATTN_ARGUMENT';
    expectTyped(await failureOf(() => useRuntime(foreign)), { code, op: 'useRuntime' });
    expectTyped(await failureOf(() => setLogger(foreign)), { code });
    expectTyped(await failureOf(() => scope(foreign)), { code, op: 'scope' });
    for (const thing of [foreign, null as never, {} as never])
      expectTyped(await failureOf(() => keep(thing)), { code, op: 'keep' });
    expectTyped(await failureOf(() => tensor([1], [1], null as never)), { code, op: 'tensor' });
  });

  it('keeps its route when told one that there is not', async () => {
    using runtime = new Runtime(cpu.options);
    const set = (route: string) => failureOf(() => (runtime.route = route as 'cpu'));
    expectTyped(await set('fast'), { code: 'ATTN_ARGUMENT', says: /fast/ });
    expectTyped(await set('gpu'), { code: 'ATTN_DEVICE' });
    expect(runtime.route).toBe('cpu');
  });

  it('is of no use after its end, and says so', async () => {
    const ended = new Runtime(cpu.options);
    const x = tensor([1, 2], undefined, { runtime: ended });
    add(x, x); // prepared: a second call does not reach the engine by itself
    ended.dispose();
    ended.dispose();
    const code = 'ATTN_DISPOSED';
    expectTyped(await failureOf(() => add(x, x)), { code });
    expectTyped(await failureOf(() => tensor([1], undefined, { runtime: ended })), { code });
    expectTyped(await failureOf(() => x.data()), { code });
    expectTyped(await failureOf(() => x.dataSync()), { code });
    expectTyped(await failureOf(() => ended.sync()), { code });
    expectTyped(await failureOf(() => ended.memory()), { code });
    x.dispose();
  });
});
