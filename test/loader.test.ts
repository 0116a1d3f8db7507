/** Batches made ahead: the same as in the calling thread, errors included, and nothing that hangs. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { type Split, splits } from '../src/data/data.js';
import { type Batch, type Loader, openLoader } from '../src/data/loader.js';
import { parseData } from '../src/data/registry.js';
import { packError, unpackError } from '../src/data/wire.js';
import * as family from '../src/runtime/errors.js';
import { packageRoot } from '../src/runtime/load.js';
import { child } from './support/child.js';
import { countingText, temporary } from './support/data.js';
import { expectTyped, failureOf } from './support/errors.js';

const folder = temporary({ 'counting.txt': countingText(400) });
const config = parseData({ name: 'text', path: join(folder, 'counting.txt'), length: 24, batch: 5 });

const open: Loader[] = [];
const opened = async (ahead: number, of = config): Promise<Loader> => {
  const loader = await openLoader(of, { seed: 3, ahead });
  open.push(loader);
  return loader;
};
afterEach(async () => {
  await Promise.all(open.splice(0).map((loader) => loader.close()));
});

describe('a loader', () => {
  it('gives the same batches whatever is made ahead and in whatever order they are asked for', async () => {
    const here = await opened(0);
    const others = [await opened(1), await opened(7)];
    const calls = fc.array(fc.tuple(fc.constantFrom(...splits), fc.nat({ max: 40 })), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(calls, fc.boolean(), async (asked, atOnce) => {
        const valid = asked.filter(([split, n]) => split === 'train' || n < here.batches(split));
        const wanted = await all(here, valid, true);
        for (const loader of others) expect(await all(loader, valid, atOnce)).toEqual(wanted);
      }),
      { numRuns: 30 },
    );
  });

  it('reads each row of an epoch once, goes on with the next where it ends, and drops none', async () => {
    const odd = await opened(0, { ...config, batch: 11 });
    const rows = odd.info.rows.train;
    expect(rows % 11).not.toBe(0);
    const read: string[] = [];
    for (let n = 0; n < odd.batches('train'); n++) {
      const { ids, batch } = await odd.batch('train', n);
      expect(batch).toBe(11);
      for (let j = 0; j < batch; j++) read.push(ids.subarray(j * 24, (j + 1) * 24).join());
    }
    expect(new Set(read.slice(0, rows)).size).toBe(rows);
    const first = await opened(0, { ...config, batch: rows });
    const { ids } = await first.batch('train', 1);
    expect(read[rows]).toBe(ids.subarray(0, 24).join());
  });

  it('fills a batch that is larger than the split with rows of later epochs', async () => {
    const large = await opened(2, { ...config, batch: 1000 });
    expect((await large.batch('train', 0)).batch).toBe(1000);
    expect((await large.batch('val', 0)).batch).toBe(large.info.rows.val);
  });

  it('leaves the text in sequence where that is asked for', async () => {
    const loader = await opened(0, { ...config, order: 'sequential' });
    const { ids, labels } = await loader.batch('train', 0);
    expect([...ids.subarray(1), labels.at(-1)!]).toEqual([...labels]);
  });

  it('refuses batches that a split does not have, and calls after close()', async () => {
    for (const ahead of [0, 2]) {
      const loader = await opened(ahead);
      const last = loader.batches('val') - 1;
      await loader.batch('val', last);
      for (const [split, n] of [
        ['val', last + 1],
        ['train', -1],
        ['train', 0.5],
        ['valid', 0],
      ] as const)
        expectTyped(await failureOf(() => loader.batch(split as Split, n)), {
          code: 'ATTN_ARGUMENT',
          op: 'batch',
        });
      await loader.close();
      await loader.close();
      expectTyped(await failureOf(() => loader.batch('train', 0)), { code: 'ATTN_DISPOSED', op: 'batch' });
    }
    for (const options of [{ seed: 1, ahead: -1 }, { seed: -1 }, { seed: 0.5 }, { seed: Number.NaN }])
      expectTyped(await failureOf(() => openLoader(config, options)), { code: 'ATTN_ARGUMENT' });
  });
});

describe('the thread', () => {
  it('tells what is wrong with the data as the calling thread does', async () => {
    const missing = { ...config, path: join(folder, 'none.txt') };
    const [here, there] = [
      expectTyped(await failureOf(() => opened(0, missing)), { code: 'ATTN_DATA', says: /none\.txt/ }),
      expectTyped(await failureOf(() => opened(2, missing)), { code: 'ATTN_DATA' }),
    ];
    expect({ ...there }).toEqual({ ...here });
    expect(there.message).toBe(here.message);
  });

  it('rejects who waits when it dies, and who asks later', async () => {
    const loader = await opened(2, { ...config, batch: 100_000 }); // none is made before it ends
    const waiting = [loader.batch('train', 0), loader.batch('train', 9), loader.batch('val', 0)].map((p) =>
      failureOf(() => p),
    );
    await (loader as unknown as { worker: Worker }).worker.terminate();
    for (const error of await Promise.all(waiting))
      expectTyped(error, { code: 'ATTN_INTERNAL', op: 'batch', says: /ended/ });
    expectTyped(await failureOf(() => loader.batch('train', 1)), { code: 'ATTN_INTERNAL' });
  });

  it('forgets what it made ahead once that is read no more', async () => {
    const loader = await opened(3);
    const { slots } = loader as unknown as { slots: Record<Split, Map<number, unknown>> };
    for (let n = 0; n < 1000; n += 50) await loader.batch('train', n);
    expect([...slots.train.keys()]).toEqual([951, 952, 953]);
  });

  it('rejects who waits when it is closed', async () => {
    const loader = await opened(2, { ...config, batch: 100_000 });
    const waiting = failureOf(() => loader.batch('train', 0));
    await loader.close();
    expectTyped(await waiting, { code: 'ATTN_DISPOSED' });
  });

  it('sends errors of every class as they are', () => {
    type Class = new (message: string, details: object) => family.AttnError;
    const typed = (Object.values(family) as { prototype?: unknown }[]).filter(
      ({ prototype }) => prototype instanceof family.AttnError,
    ) as Class[];
    expect(typed.length).toBeGreaterThan(10);
    // Of a missing addon there is nothing to tell a loader.
    for (const Class of typed.filter((c) => c.name !== 'NativeLoadError')) {
      const error = Object.assign(new Class('what was got', { op: 'batch', hint: 'do this' }), { line: 7 });
      const there = unpackError(structuredClone(packError(error)));
      expect(there).toBeInstanceOf(Class);
      expect(there.message).toBe(error.message);
      expect({ ...there }).toEqual({ ...error });
    }
    const system = Object.assign(new Error('EACCES: no'), { code: 'EACCES', errno: -13 });
    expect(unpackError(structuredClone(packError(system)))).toMatchObject({
      message: 'EACCES: no',
      code: 'EACCES',
    });
    expect(unpackError(packError('text')).message).toBe('text');
  });

  it('keeps the process while a batch is waited for, and not a moment longer, and loads no addon', async () => {
    const loader = pathToFileURL(join(packageRoot(), 'dist/src/data/loader.js')).href;
    const { code, json } = await child(
      `import { openLoader } from ${JSON.stringify(loader)};
       const loader = await openLoader(${JSON.stringify(config)}, { seed: 3 });
       const sums = [];
       for (let n = 0; n < 5; n++) sums.push((await loader.batch('train', n)).ids.reduce((a, b) => a + b));
       const addons = process.report.getReport().sharedObjects.filter((path) => path.includes('attn_vk'));
       console.log(JSON.stringify({ sums, addons }));
       // Not closed: the process has to end all the same.`,
      { bare: true },
    );
    expect(code).toBe(0);
    const here = await opened(0);
    const sums = [];
    for (let n = 0; n < 5; n++) sums.push((await here.batch('train', n)).ids.reduce((a, b) => a + b));
    expect(json()).toEqual({ sums, addons: [] });
  });
});

const all = async (loader: Loader, calls: [Split, number][], atOnce: boolean): Promise<Batch[]> => {
  if (atOnce) return Promise.all(calls.map(([split, n]) => loader.batch(split, n)));
  const batches: Batch[] = [];
  for (const [split, n] of calls) batches.push(await loader.batch(split, n));
  return batches;
};
