/** Data that is out of measure: large, endless, broken or absurd. It is read, or refused by name; nothing hangs. */
import { execFileSync } from 'node:child_process';
import { rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, describe, expect, it } from 'vitest';
import { openLoader } from '../src/data/loader.js';
import { readColumn } from '../src/data/parquet.js';
import { openData, parseData } from '../src/data/registry.js';
import { countingText, temporary } from './support/data.js';
import { expectTyped, failureOf } from './support/errors.js';

const folders: string[] = [];
const folderOf = (files: Record<string, string | Uint8Array>): string => {
  const folder = temporary(files);
  folders.push(folder);
  return folder;
};
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

type Given = { name: string; [option: string]: unknown };
const opened = async (given: Given) => openData(parseData({ length: 16, batch: 2, ...given }), { seed: 5 });
const refused = async (given: Given, says: RegExp, code = 'ATTN_DATA') =>
  expectTyped(await failureOf(() => opened(given)), { code, says });

describe('files', () => {
  it('of Parquet may have all their rows in one group', async () => {
    const rows = 200_000;
    const data = Array.from({ length: rows }, (_, i) => `${i}`);
    const buffer = parquetWriteBuffer({ columnData: [{ name: 'text', data }], rowGroupSize: rows });
    const path = join(folderOf({ 'a.parquet': new Uint8Array(buffer) }), 'a.parquet');
    expect(Buffer.from(await readColumn(path, 'text')).equals(Buffer.from(`${data.join('\n')}\n`))).toBe(
      true,
    );
  });

  it('of Parquet that are damaged anywhere are refused by name, or read', async () => {
    const data = Array.from({ length: 60 }, (_, i) => `line ${i}`);
    const whole = new Uint8Array(
      parquetWriteBuffer({ columnData: [{ name: 'text', data }], rowGroupSize: 20 }),
    );
    const path = join(folderOf({}), 'a.parquet');
    const place = fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 }));
    await fc.assert(
      fc.asyncProperty(fc.array(place, { minLength: 1, maxLength: 4 }), async (places) => {
        const bytes = whole.slice();
        for (const [at, byte] of places) bytes[whole.length - 1 - at] = byte;
        writeFileSync(path, bytes);
        await readColumn(path, 'text').catch((error) => expectTyped(error, { code: 'ATTN_DATA' }));
      }),
      { numRuns: 200, examples: [[[[259, 19]]]] },
    );
  });

  it('that unpack to hundreds of times their size are no text, but their first bytes may be taken', async () => {
    const folder = folderOf({ 'bomb.gz': gzipSync(Buffer.alloc(70e6, 'a\n')) });
    const path = join(folder, 'bomb.gz');
    await refused({ name: 'text', path }, /unpacks to more than 500 times its size.*option bytes/s);
    expect((await opened({ name: 'text', path, bytes: 5000 })).facts().bytes).toBe(5000);
  });

  it('that are links to nowhere are named', async () => {
    const folder = folderOf({});
    symlinkSync(join(folder, 'none'), join(folder, 'enwik8'));
    await refused({ name: 'enwik8', path: folder }, /enwik8 cannot be read/);
  });

  it('of a checkout count once while they are merged', async () => {
    const folder = folderOf({
      'a.txt': countingText(200),
      'b.txt': countingText(200, 1000),
      'c.txt': countingText(200, 2000),
    });
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b.c', ...args], {
        stdio: 'ignore',
      });
    const commit = (first: number) => {
      writeFileSync(join(folder, 'a.txt'), countingText(200, first));
      git('add', '.');
      git('commit', '-qm', `from ${first}`);
    };
    git('init', '-qb', 'ours');
    commit(1);
    git('checkout', '-qb', 'theirs');
    commit(2);
    git('checkout', '-q', 'ours');
    commit(3);
    expect(() => git('merge', 'theirs')).toThrow();
    expect((await opened({ name: 'code', path: folder })).facts().files).toBe(3);
  });
});

describe('numbers', () => {
  it.each<[Given, RegExp]>([
    [{ name: 'copy', vocab: 2 ** 33 }, /data\.vocab is 8589934592/],
    [{ name: 'copy', length: 1e12 }, /data\.length is 1000000000000/],
    [{ name: 'needle', keys: 2 ** 33 }, /data\.keys is/],
    [{ name: 'markov', vocab: 1e10, segment: 8 }, /data\.vocab is/],
    [{ name: 'markov', segments: [1, 2 ** 33], segment: 1 }, /data\.segments\.1 is/],
    [{ name: 'markov', concentration: 1e-60, segment: 8 }, /data\.concentration is/],
    [{ name: 'match3', modulus: 1e12, causal: true }, /data\.modulus is/],
    [
      { name: 'match3', length: 100_000, causal: true },
      /data\.modulus: the default for 100000 tokens is M = /,
    ],
  ])('%j is refused', async (given, says) => {
    await refused(given, says, 'ATTN_CONFIG');
  });

  it('a batch that no memory holds', async () => {
    const config = parseData({ name: 'copy', length: 10_000, batch: 1e9 });
    for (const ahead of [0, 1]) {
      const loader = await openLoader(config, { seed: 1, ahead });
      expectTyped(await failureOf(() => loader.batch('train', 0)), {
        code: 'ATTN_OUT_OF_MEMORY',
        says: /1000000000 rows of 10000 tokens takes 80000000000000 bytes/,
      });
      await loader.close();
    }
  });
});
