/** The sets of text: what they read, how they cut it, and what they say of files that are missing or wrong. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type AnyDataConfig, type DataSet, IGNORED, type Split, splits } from '../src/data/data.js';
import { openData, parseData } from '../src/data/registry.js';
import { countingText, ofWhat, readRow, realData, temporary } from './support/data.js';
import { expectTyped, failureOf } from './support/errors.js';

const folders: string[] = [];
const folderOf = (files: Record<string, string | Uint8Array>): string => {
  const folder = temporary(files);
  folders.push(folder);
  return folder;
};
const data = process.env.ATTN_VK_DATA;
afterEach(() => {
  if (data === undefined) delete process.env.ATTN_VK_DATA;
  else process.env.ATTN_VK_DATA = data;
});
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

type Given = { name: string; length?: number; [option: string]: unknown };
const config = (given: Given): AnyDataConfig => parseData({ length: 16, batch: 2, ...given });
const opened = (given: Given): Promise<DataSet> => openData(config(given), { seed: 5 });
const refused = async (given: Given, says: RegExp) =>
  expectTyped(await failureOf(() => opened(given)), { code: 'ATTN_DATA', says });

/** What a split has, from its rows in sequence: ids that tile it, and the last label. */
const textOf = (set: DataSet, split: Split, length = 16): string => {
  const ids: number[] = [];
  for (let i = 0; i < set.rows(split); i++) ids.push(...readRow(set, split, i, length).ids);
  return set.tokenizer!.decode(ids);
};

const text = countingText(500);

describe('text', () => {
  it('is cut 90/5/5 in sequence, and every byte of evaluation is read once', async () => {
    const folder = folderOf({ 'a.txt': text });
    const set = await opened({ name: 'text', path: join(folder, 'a.txt') });
    const n = text.length;
    const [a, b] = [Math.floor(n * 0.9), Math.floor(n * 0.95)];
    expect(text.slice(a, b).startsWith(textOf(set, 'val'))).toBe(true);
    expect(text.slice(b).startsWith(textOf(set, 'test'))).toBe(true);
    expect(set.rows('val')).toBe(Math.floor((b - a - 1) / 16));
    expect(text.slice(0, a)).toContain(textOf(set, 'train'));
    expect(set.facts()).toMatchObject({ bytes: n, trainBytes: a, valBytes: b - a, testBytes: n - b });
  });

  it('is the same plain and packed, in one file or in two, by path or in the data folder', async () => {
    const half = text.indexOf('\n', text.length / 2) + 1;
    const folder = folderOf({
      'a.txt': text,
      'a.gz': gzipSync(text),
      '1.txt': text.slice(0, half),
      '2.gz': gzipSync(text.slice(half)),
    });
    const at = (name: string) => join(folder, name);
    const plain = await opened({ name: 'text', path: at('a.txt') });
    process.env.ATTN_VK_DATA = folder;
    // A file that is there in the other form alone is meant as well.
    const other = [at('1.txt.gz'), at('2')];
    for (const path of [at('a.gz'), [at('1.txt'), at('2.gz')], 'a.txt', ['1.txt', '2.gz'], other])
      expect(textOf(await opened({ name: 'text', path }), 'train')).toBe(textOf(plain, 'train'));
    for (const path of ['a.txt', 'a.gz']) {
      const part = await opened({ name: 'text', path, bytes: 2000 });
      expect(part.facts().bytes).toBe(2000);
      expect(text.slice(0, 1800)).toContain(textOf(part, 'train'));
    }
  });

  it('counts bytes to a token exactly, and learns from the training text alone', async () => {
    // The last twentieth has letters that training has not: bytes stand for them in BPE.
    const folder = folderOf({ 'a.txt': `${text}${'ß→𝄞 '.repeat(40)}` });
    const path = join(folder, 'a.txt');
    const set = await opened({ name: 'text', path, tokenizer: { kind: 'bpe', vocab: 300 } });
    for (const split of splits) {
      const { [`${split}Bytes`]: bytes, [`${split}Tokens`]: tokens } = set.facts() as Record<string, number>;
      expect(set.bytesPerToken![split]).toBe(bytes! / tokens!);
    }
    const all = splits.map((split) => set.facts()[`${split}Bytes`] as number).reduce((a, b) => a + b);
    expect(all).toBe(Buffer.byteLength(`${text}${'ß→𝄞 '.repeat(40)}`));
    expect(set.bytesPerToken!.train).toBeGreaterThan(1.5);
    await refused(
      { name: 'text', path, tokenizer: { kind: 'character' } },
      /the (val|test) split of .*a\.txt: character/,
    );
  });

  it('does not cut characters in two where tokens are not bytes', async () => {
    const folder = folderOf({ 'a.txt': 'aé→𝄞'.repeat(300) });
    for (const bytes of [2000, 2001, 2002, 2003, 2004, 2005]) {
      const set = await opened({
        name: 'text',
        path: join(folder, 'a.txt'),
        bytes,
        tokenizer: { kind: 'character' },
      });
      expect(set.vocab).toBe(4);
      for (const split of splits) expect(textOf(set, split)).not.toContain('\ufffd');
    }
  });

  it('reads a column of Parquet, row group after row group', async () => {
    const lines = text.trimEnd().split('\n');
    const write = (type: 'STRING' | 'BYTE_ARRAY', values: (string | null)[]) =>
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: 'id', data: values.map((_, i) => i), type: 'INT32' },
            { name: 'text', data: values, type, nullable: true },
          ],
          rowGroupSize: 150,
        }),
      );
    const folder = folderOf({ 'a.txt': text, 'a.parquet': write('STRING', [null, ...lines, null]) });
    const path = join(folder, 'a.parquet');
    const set = await opened({ name: 'text', path, column: 'text' });
    const plain = await opened({ name: 'text', path: join(folder, 'a.txt') });
    expect(set.facts().sha256).toBe(plain.facts().sha256);
    expect((await opened({ name: 'text', path, column: 'text', bytes: 3000 })).facts().bytes).toBe(3000);
    await refused({ name: 'text', path, column: 'txt' }, /no column 'txt'.*did you mean 'text'.*id, text/s);
    await refused({ name: 'text', path, column: 'id' }, /holds values such as 0, not text/);
    await refused({ name: 'text', path }, /is Parquet, not text.*column/s);
    await refused({ name: 'text', path: join(folder, 'a.txt'), column: 'text' }, /is no Parquet file/);
  });

  it('says what is wrong with a file', async () => {
    const packed = gzipSync(text);
    const broken = Buffer.from(packed);
    broken.fill(0, 40, 60);
    const folder = folderOf({
      'empty.txt': '',
      'empty.gz': gzipSync(''),
      'cut.gz': packed.subarray(0, packed.length / 2),
      'broken.gz': broken,
      'a.png': Buffer.from([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3]),
      'controls.bin': Buffer.alloc(2000, 5),
      'wide.txt': Buffer.from(text, 'utf16le'),
      'a.zip': Buffer.from([0x50, 0x4b, 3, 4, 20, 0]),
      'short.txt': text.slice(0, 200),
      'latin.txt': Buffer.from(`${'a'.repeat(1207)}\u00e9 ${'a'.repeat(900)}`, 'latin1'),
    });
    const path = (name: string) => ({ name: 'text', path: join(folder, name) });
    await refused(
      { ...path('latin.txt'), tokenizer: { kind: 'character' } },
      /the train split of .*latin\.txt: text of \d+ bytes is not UTF-8: byte 1207 \(0xe9\)/,
    );
    await refused(path('none.txt'), /none\.txt is not there/);
    await refused(
      { name: 'text', path: join(folder, 'tinyshakespeare.txt.gz') },
      /is not there, nor tinyshakespeare\.txt:.*hint: get https:.* 1,115,394 bytes and the SHA-256 86c4e6aa/s,
    );
    await refused({ name: 'text', path: 'none.txt' }, /looked for none\.txt, .*data\/none\.txt/);
    await refused({ name: 'text', path: folder }, /is a folder/);
    await refused(path('empty.txt'), /is empty/);
    await refused(path('empty.gz'), /unpacks to nothing/);
    await refused(path('cut.gz'), /truncated: its gzip stream ends too early.*gzip -t/s);
    await refused(path('broken.gz'), /is corrupted/);
    await refused(path('a.png'), /is not text: byte 4 is 0/);
    await refused(path('controls.bin'), /control characters/);
    await refused(path('wide.txt'), /is not text: byte 1 is 0.*iconv/s);
    await refused(path('a.zip'), /a zip archive.*unzip/s);
    await refused(
      { ...path('short.txt'), length: 64 },
      /length 64 needs 65 tokens of the val split, which has 10.*largest.* is 9/s,
    );
    expect((await opened({ ...path('short.txt'), length: 9 })).rows('val')).toBe(1);
  });
});

describe('enwik8', () => {
  const name = 'enwik8';

  it('is found by its names, in the folder that ATTN_VK_DATA names', async () => {
    for (const file of ['enwik8', 'enwik8.gz', 'enwik8-4MB.gz', 'enwik8/enwik8']) {
      const folder = folderOf({ [file]: file.endsWith('.gz') ? gzipSync(text) : text });
      process.env.ATTN_VK_DATA = folder;
      const facts = (await opened({ name })).facts();
      expect(facts).toMatchObject({ file: join(folder, file), bytes: text.length });
      expect(facts.verified).toMatch(/^no: the hash of the first \d+ bytes is not known/);
    }
  });

  it('says where it was looked for, and where to get how many bytes of which hash', async () => {
    process.env.ATTN_VK_DATA = folderOf({});
    const error = await refused(
      { name },
      /enwik8 is not there: looked for enwik8, enwik8\.gz or enwik8\*\.gz in/,
    );
    for (const part of [
      process.env.ATTN_VK_DATA,
      'data',
      'mattmahoney.net',
      '100,000,000 bytes',
      '2b49720ec4d7',
    ])
      expect(error.message).toContain(part);
    process.env.ATTN_VK_DATA = folderOf({ 'enwik8.zip': 'PK' });
    await refused({ name }, /enwik8\.zip is a zip archive.*unzip .*enwik8\.zip -d/s);
  });

  it(`cuts ${ofWhat} 90/5/5, and tells whether it is enwik8`, async () => {
    if (!realData) process.env.ATTN_VK_DATA = folderOf({ enwik8: countingText(3000) });
    const set = await opened({ name, length: 256 });
    const { bytes, trainBytes, valBytes, verified } = set.facts();
    expect([trainBytes, valBytes]).toEqual([
      Math.floor(Number(bytes) * 0.9),
      Math.floor(Number(bytes) * 0.95) - Math.floor(Number(bytes) * 0.9),
    ]);
    expect(String(verified)).toMatch(realData ? /^yes: / : /^no: /);
    expect((await opened({ name, bytes: 20_000 })).facts().trainBytes).toBe(18_000);
  });
});

describe('wikitext', () => {
  const name = 'wikitext';
  const files = (ending: string) =>
    Object.fromEntries(
      [
        ['train', 300],
        ['valid', 40],
        ['test', 50],
      ].map(([split, n], i) => [`wiki.${split}.${ending}`, countingText(n as number, 1000 * (i + 1))]),
    );

  it('takes the splits of its files, tokenised or raw', async () => {
    const folder = folderOf({ ...files('tokens') });
    for (const [file, content] of Object.entries(files('raw'))) {
      mkdirSync(join(folder, 'wikitext-103-raw'), { recursive: true });
      writeFileSync(join(folder, 'wikitext-103-raw', file), content.replaceAll('is', '='));
    }
    process.env.ATTN_VK_DATA = folder;
    const set = await opened({ name });
    expect(textOf(set, 'val')).toContain('2000 squared is 4000000.');
    expect(set.facts().splits).toBe('of the files wiki.train.tokens, wiki.valid.tokens, wiki.test.tokens');
    expect(textOf(await opened({ name, form: 'raw' }), 'test')).toContain('3000 squared = 9000000.');
    expect((await opened({ name, bytes: 1000 })).facts().trainBytes).toBe(1000);
  });

  it('cuts the validation file where no training file is there, and says so', async () => {
    process.env.ATTN_VK_DATA = folderOf({ 'wikitext-valid.txt.gz': gzipSync(text) });
    const set = await opened({ name });
    expect(set.facts().splits).toMatch(/no train file is there: the valid file is cut 90\/5\/5/);
    expect(set.facts().trainBytes).toBe(Math.floor(text.length * 0.9));
  });

  it('takes no split from another folder, which may have another version', async () => {
    const { 'wiki.train.tokens': train, ...others } = files('tokens');
    process.env.ATTN_VK_DATA = folderOf({
      'wikitext-2/wiki.train.tokens': train!,
      ...Object.fromEntries(Object.entries(others).map(([file, lines]) => [`wikitext-103/${file}`, lines])),
    });
    expect((await opened({ name })).facts().splits).toMatch(/no train file is there/);
  });

  it('reads the Parquet files of the Hub', async () => {
    const of = (lines: string) =>
      new Uint8Array(
        parquetWriteBuffer({ columnData: [{ name: 'text', data: lines.trimEnd().split('\n') }] }),
      );
    const folder = folderOf({
      'train-00000-of-00002.parquet': of(countingText(100)),
      'train-00001-of-00002.parquet': of(countingText(100, 101)),
      'validation-00000-of-00001.parquet': of(countingText(20, 301)),
      'test-00000-of-00001.parquet': of(countingText(20, 401)),
    });
    const set = await opened({ name, path: folder, form: 'raw' });
    expect(textOf(set, 'train')).toContain('\n150 squared is 22500.\n');
    expect(textOf(set, 'val')).toMatch(/^301 squared/);
  });

  it('reads line by line: no row goes on in the next line, and what is beyond a line is ignored', async () => {
    const path = folderOf({
      'wiki.train.tokens': 'ab\n \n\nabcdefg\nlast',
      'wiki.valid.tokens': 'xy\n',
      'wiki.test.tokens': 'z\n',
    });
    const set = await opened({ name, path, by: 'line', length: 4 });
    const shown = (split: Split) =>
      Array.from({ length: set.rows(split) }, (_, i) => {
        const { ids, labels } = readRow(set, split, i, 4);
        const label = (x: number) => (x === IGNORED ? '_' : String.fromCharCode(x));
        return `${String.fromCharCode(...ids)}>${Array.from(labels, label).join('')}`;
      });
    expect(shown('train')).toEqual(['ab\n\n>b\n__', 'abcd>bcde', 'efg\n>fg\n_', 'last>ast_']);
    expect(shown('val')).toEqual(['xy\n\n>y\n__']);
    expect(set.facts()).toMatchObject({ trainBytes: 15, rowsAre: 'lines' });
  });

  it('takes files of plain names from a folder that is named, and from no other', async () => {
    const path = folderOf({
      'train.txt': text,
      'valid.txt': countingText(40, 2000),
      'test.txt': countingText(40, 3000),
      'wikitext-2/wiki.valid.tokens': countingText(60, 4000),
    });
    expect(textOf(await opened({ name, path }), 'val')).toMatch(/^2000 squared/);
    process.env.ATTN_VK_DATA = path;
    const set = await opened({ name });
    expect(textOf(set, 'train')).toContain('4001 squared');
    expect(set.facts().splits).toMatch(/no train file is there/);
  });

  it('says which file is missing', async () => {
    process.env.ATTN_VK_DATA = folderOf({});
    await refused(
      { name },
      /WikiText \(tokenised, valid\) is not there.*wiki\.valid\.tokens.*smerity.*1,121,681/s,
    );
    const { 'wiki.test.tokens': _, ...rest } = files('tokens');
    await refused({ name, path: folderOf(rest) }, /WikiText \(tokenised, test\) is not there/);
    await refused({ name, path: '/nowhere' }, /\/nowhere \(no such folder\)/);
    const one = join(folderOf({ 'all.txt': text }), 'all.txt');
    await refused({ name, path: one }, /all\.txt is a file, and WikiText is a folder.*data set text/s);
  });

  it(`reads ${ofWhat}`, async () => {
    if (!realData) process.env.ATTN_VK_DATA = folderOf({ 'wikitext-valid.txt': countingText(3000) });
    const set = await opened({ name, length: 256, by: 'line', tokenizer: { kind: 'byte' } });
    expect(set.rows('train')).toBeGreaterThan(100);
    expect(String(set.facts().verified)).toMatch(realData ? /^yes: valid of WikiText-2$/ : /^no: /);
  });
});

describe('code', () => {
  const name = 'code';
  const git = (folder: string, ...args: string[]) =>
    execFileSync('git', ['-C', folder, '-c', 'user.name=a', '-c', 'user.email=a@b', ...args], {
      stdio: 'pipe',
    });

  function checkout(): string {
    const sources = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`src/${i}.ts`, `// ${i}\n${countingText(8, 100 * i)}`]),
    );
    const folder = folderOf({
      ...sources,
      'README.md': countingText(20, 9000),
      'image.ts': Buffer.from([1, 0, 2]),
      'huge.ts': 'x'.repeat(5000),
      'untracked.ts': 'untracked',
      'empty.ts': '',
      'gone.ts': 'gone',
    });
    symlinkSync('README.md', join(folder, 'link.ts'));
    git(folder, 'init', '-q');
    git(folder, 'add', 'src', 'README.md', 'image.ts', 'huge.ts', 'empty.ts', 'gone.ts', 'link.ts');
    git(folder, 'commit', '-qm', 'all');
    rmSync(join(folder, 'gone.ts'));
    return folder;
  }

  it('takes tracked text files by extension, each whole in one split, with a separator after it', async () => {
    const path = checkout();
    const set = await opened({ name, path, extensions: ['ts'], largest: 4000 });
    expect(set.facts()).toMatchObject({ files: 40, skippedBinary: 1, skippedLarge: 1, skippedMissing: 1 });
    expect(set.facts().commit).toMatch(/^[0-9a-f]{40}$/);
    const parts = splits.map((split) => textOf(set, split, 16));
    const headers = parts.map(
      (part) => new Set([...part.matchAll(/\/\/ (\d+)\n/g)].map((m) => Number(m[1]))),
    );
    for (let i = 0; i < 40; i++) expect(headers.filter((h) => h.has(i)).length).toBeLessThanOrEqual(1);
    expect(headers[0]!.size).toBeGreaterThan(30);
    expect(parts[0]).toContain('\x1c// ');
    for (const part of parts) expect(part).not.toMatch(/untracked|xxxx/);
    const total = splits.map((split) => set.facts()[`${split}Bytes`] as number).reduce((a, b) => a + b);
    expect(total).toBe((set.facts().bytes as number) + 40);
    expect(set.facts().valBytes as number).toBeGreaterThanOrEqual(total * 0.05);
    expect((await opened({ name, path, extensions: ['.md', 'ts'] })).facts().files).toBe(42);
    expect((await opened({ name, path: join(path, 'src') })).facts().files).toBe(40);
  });

  it('keeps files in their splits when others are changed', async () => {
    const path = checkout();
    const before = textOf(await opened({ name, path, extensions: ['md', 'ts'], largest: 4000 }), 'val');
    writeFileSync(join(path, 'README.md'), countingText(21, 9000));
    const after = textOf(await opened({ name, path, extensions: ['md', 'ts'], largest: 4000 }), 'val');
    expect(after.slice(0, 100)).toBe(before.slice(0, 100));
  });

  it('says what is no checkout, and what has no such files', async () => {
    await refused({ name, path: folderOf({ 'a.ts': 'a' }) }, /is not a git checkout.*git clone/s);
    await refused({ name, path: '/nowhere' }, /no folder \/nowhere/);
    const path = checkout();
    await refused(
      { name, path, extensions: ['tsx'] },
      /no tracked text file that ends in \.tsx.*did you mean '\.ts'/s,
    );
    await refused({ name, path, extensions: ['md'] }, /tokens of the (train|test) split, which has 0/);
    const empty = folderOf({});
    git(empty, 'init', '-q');
    await refused({ name, path: empty }, /no tracked text file.*git add/s);
    const saved = process.env.PATH;
    process.env.PATH = empty;
    try {
      await refused({ name, path }, /git is not installed/);
    } finally {
      process.env.PATH = saved;
    }
  });
});
