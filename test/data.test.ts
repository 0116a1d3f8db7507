/** What every data set owes those who train on it: all samples of all kinds in the registry. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type AnyDataConfig, type DataSet, IGNORED, type Split, splits } from '../src/data/data.js';
import { openLoader } from '../src/data/loader.js';
import { dataKind, dataKinds, openData, parseData } from '../src/data/registry.js';
import type { ConfigError } from '../src/runtime/errors.js';
import { packageRoot } from '../src/runtime/load.js';
import { child } from './support/child.js';
import { readRow, samples } from './support/data.js';
import { expectTyped, failureOf } from './support/errors.js';

const SEED = 11;
/** Rows of a split that tests look at, at most. */
const some = (set: DataSet, split: Split, most = 300): number => Math.min(set.rows(split), most);

describe.each(samples)('$name', ({ name, config }) => {
  const { length } = config;
  let set: DataSet;
  beforeAll(async () => {
    set = await openData(config, { seed: SEED });
  });

  it('has rows of ids in range, whose labels are the ids that follow, or answers, or count for nothing', () => {
    const follows = dataKind(config.name).labels !== 'answers';
    for (const split of splits) {
      expect(set.rows(split), split).toBeGreaterThan(0);
      for (let i = 0; i < some(set, split); i++) {
        const { ids, labels } = readRow(set, split, i, length);
        const wrong = (what: string) => expect.fail(`${split} row ${i}: ${what}`);
        for (let t = 0; t < length; t++) {
          const [id, label] = [ids[t]!, labels[t]!];
          if (!(id >= 0 && id < set.vocab)) wrong(`id ${id} of ${set.vocab}`);
          if (label === IGNORED) continue;
          if (!(label >= 0 && label < set.vocab)) wrong(`label ${label} of ${set.vocab}`);
          if (follows && t + 1 < length && label !== ids[t + 1])
            wrong(`label ${label}, id ${ids[t + 1]} follows`);
        }
        if (labels.every((label) => label === IGNORED)) wrong('no label counts');
      }
    }
  });

  it('gives the same row at every call, in any order, whatever was in it before', async () => {
    const again = await openData(config, { seed: SEED });
    for (const split of splits)
      for (let i = some(set, split, 20) - 1; i >= 0; i--) {
        const row = readRow(set, split, i, length, 1);
        const dirty = { ids: new Int32Array(length).fill(-7), labels: new Int32Array(length).fill(-7) };
        again.read(split, i, 1, dirty);
        expect(dirty).toEqual({ ids: row.ids, labels: row.labels });
      }
  });

  it('keeps the splits apart: no text of validation or testing is trained on, and what is drawn is drawn anew', () => {
    const written = (split: Split, epoch: number) =>
      Array.from({ length: some(set, split) }, (_, i) =>
        [...readRow(set, split, i, length, epoch).ids].join(),
      );
    // Ids of rows of text tile it: joined, they are the text, in which no window of another split may lie.
    const training = [0, 1].map((epoch) => `,${written('train', epoch).join()},`);
    const [val, test] = [written('val', 0), written('test', 0)];
    const seen = (row: string) => training.some((text) => text.includes(`,${row},`));
    // Draws of few tokens repeat each other by chance, now and then.
    const allowed = set.tokenizer ? 0 : 0.1;
    for (const rows of [val, test])
      expect(rows.filter(seen).length / rows.length).toBeLessThanOrEqual(allowed);
    expect(val.filter((row) => test.includes(row)).length / val.length).toBeLessThanOrEqual(allowed);
  });

  // The others are made in a fresh process, below.
  const first = name === `${config.name} 0`;
  it.runIf(first)('makes the same batches in a thread, whatever is asked for in between', async () => {
    const here = await openLoader(config, { seed: SEED, ahead: 0 });
    const there = await openLoader(config, { seed: SEED, ahead: 3 });
    expect({ ...there.info, tokenizer: there.info.tokenizer?.toJSON() }).toEqual({
      ...here.info,
      tokenizer: here.info.tokenizer?.toJSON(),
    });
    const asked: [Split, number][] = [...Array(6).keys()].map((n) => ['train', n]);
    asked.push(['val', 0], ['train', 6], ['train', 1000], ['test', 0], ['val', 0], ['train', 2]);
    for (const [split, number] of asked)
      expect(await there.batch(split, number)).toEqual(await here.batch(split, number));
    await there.close();
  });

  it('reads other rows in the next epoch, or the same ones in another order, unless they are wanted in sequence', async () => {
    const loader = await openLoader(config, { seed: SEED, ahead: 0 });
    const perEpoch = Number.isFinite(loader.batches('train')) ? loader.batches('train') : 1;
    const [first, next] = [await loader.batch('train', 0), await loader.batch('train', perEpoch)];
    const same =
      config.order === 'sequential' && set.tokenizer === null && Number.isFinite(set.rows('train'));
    if (same) expect(next.ids).toEqual(first.ids);
    else expect(next.ids).not.toEqual(first.ids);
  });

  it('reads evaluation in sequence to its end', async () => {
    const loader = await openLoader(config, { seed: SEED, ahead: 0 });
    const batches = Math.min(loader.batches('val'), 50);
    const rows: number[][] = [];
    for (let n = 0; n < batches; n++) {
      const { ids, batch } = await loader.batch('val', n);
      expect(ids.length).toBe(batch * length);
      for (let j = 0; j < batch; j++) rows.push([...ids.subarray(j * length, (j + 1) * length)]);
    }
    expect(rows.length).toBe(Math.min(set.rows('val'), batches * config.batch));
    expect(rows).toEqual(rows.map((_, i) => [...readRow(set, 'val', i, length).ids]));
  });

  it('tells bytes to a token and facts where it has text', () => {
    if (set.tokenizer) {
      expect(set.tokenizer.vocab).toBe(set.vocab);
      const { ids } = readRow(set, 'train', 0, length);
      expect(set.tokenizer.decode(ids).length).toBeGreaterThan(0);
    }
    expect(set.bytesPerToken === null).toBe(set.tokenizer === null);
    for (const split of splits) if (set.bytesPerToken) expect(set.bytesPerToken[split]).toBeGreaterThan(0);
    for (const fact of Object.values(set.facts()))
      expect(['string', 'number', 'boolean']).toContain(typeof fact);
  });
});

describe('all of them', () => {
  it('are described, with every option', () => {
    expect(dataKinds.length).toBeGreaterThan(0);
    for (const kind of dataKinds) {
      expect(kind.doc, kind.name).toBeTruthy();
      expect(kind.source, kind.name).toBeTruthy();
      expect(kind.samples.length, kind.name).toBeGreaterThan(0);
      for (const [name, option] of Object.entries(kind.options))
        expect(option.description, `${kind.name}.${name}`).toBeTruthy();
    }
  });

  it('give the same in a fresh process', async () => {
    const configs = samples.map(({ config }) => config);
    const compiled = (file: string) =>
      JSON.stringify(pathToFileURL(join(packageRoot(), 'dist/src', file)).href);
    const { json } = await child(
      `import { createHash } from 'node:crypto';
       import { openLoader } from ${compiled('data/loader.js')};
       const digests = ${digests};
       console.log(JSON.stringify(await digests(openLoader, createHash, ${JSON.stringify(configs)}, ${SEED})));`,
      { bare: true },
    );
    expect(json()).toEqual(await digests(openLoader, createHash, configs, SEED));
  });

  it('are found by name, and the nearest one is named for a name that is none', async () => {
    for (const kind of dataKinds) expect(dataKind(kind.name)).toBe(kind);
    const error = expectTyped(await failureOf(() => dataKind('enwiki8')), {
      code: 'ATTN_CONFIG',
      says: /did you mean 'enwik8'/,
    });
    expect((error as ConfigError).path).toBe('data.name');
  });

  it('refuse options that they do not have, and values of another kind', async () => {
    const wrong = async (config: unknown) => (await failureOf(() => parseData(config))) as ConfigError;
    const text = { name: 'text', path: 'README.md', length: 8, batch: 2 };
    const unknown = await wrong({ ...text, lenght: 3 });
    expect(expectTyped(unknown, { code: 'ATTN_CONFIG', says: /did you mean 'length'/ })).toHaveProperty(
      'path',
      'data.lenght',
    );
    const zero = await wrong({ ...text, batch: 0 });
    expect(expectTyped(zero, { code: 'ATTN_CONFIG', says: /data\.batch is 0/ })).toHaveProperty(
      'path',
      'data.batch',
    );
    const missing = await wrong({ name: 'text', length: 8, batch: 2 });
    expect(expectTyped(missing, { code: 'ATTN_CONFIG', says: /data\.path is missing/ }));
    expectTyped(await wrong(null), { code: 'ATTN_CONFIG' });
  });
});

/** A hash of some batches of each set. It goes to another process as text: what it needs is handed to it. */
async function digests(
  open: typeof openLoader,
  hashes: typeof createHash,
  configs: readonly AnyDataConfig[],
  seed: number,
): Promise<string[]> {
  const found: string[] = [];
  for (const config of configs) {
    const loader = await open(config, { seed, ahead: 0 });
    const hash = hashes('sha256');
    for (const split of ['train', 'val', 'test'] as const) {
      const { ids, labels } = await loader.batch(split, 0);
      hash.update(ids).update(labels);
    }
    hash.update((await loader.batch('train', 77)).ids);
    found.push(hash.digest('hex'));
  }
  return found;
}
