/** What formats are made of: files that appear whole, JSON without surprises, tables. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { readCsv, writeCsv } from '../src/io/csv.js';
import { parseObject } from '../src/io/json.js';
import { PartialFile } from '../src/runtime/files.js';
import { expectTyped, failureOf } from './support/errors.js';

const folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
afterAll(() => rmSync(folder, { recursive: true }));
const bytes = (text: string) => Buffer.from(text);

describe('a file of two writers', () => {
  const path = join(folder, 'two');

  it('is whole: that of the one who ended last', () => {
    const [first, second] = [new PartialFile(path), new PartialFile(path)];
    first.write(bytes('the first, '));
    second.write(bytes('the second'));
    first.write(bytes('whole'));
    second.commit();
    expect(readFileSync(path, 'utf8')).toBe('the second');
    first.commit();
    expect(readFileSync(path, 'utf8')).toBe('the first, whole');
  });

  it('outlives one who gives up', () => {
    const [first, second] = [new PartialFile(path), new PartialFile(path)];
    first.write(bytes('a'));
    second.abandon();
    first.commit();
    expect(readFileSync(path, 'utf8')).toBe('a');
    expect(readdirSync(folder)).toEqual(['two']);
  });
});

describe('JSON', () => {
  const refuse = async (text: string, says: RegExp) =>
    expectTyped(await failureOf(() => parseObject(bytes(text), 'it')), { code: 'ATTN_FORMAT', says });

  it('is read as JSON.parse does, whatever stands in its strings', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue({ maxDepth: 4 })), (value) => {
        const text = JSON.stringify(value);
        expect(parseObject(bytes(text), 'it')).toEqual(JSON.parse(Buffer.from(text).toString()));
      }),
    );
    const long = '\\"{'.repeat(3e6);
    expect(Object.keys(parseObject(bytes(`{${JSON.stringify(long)}:[1]}`), 'it'))).toEqual([long]);
  });

  it('with a key that stands twice in one object is refused, in two objects not', async () => {
    await refuse('{"a":1,"b":{"c":[{"a":1},{"a":2,"\\u0061":3}]}}', /it has the key "a" twice/);
    await refuse('{"a:":["}"],"b":2,"a:":3}', /it has the key "a:" twice/);
    expect(parseObject(bytes('{"a":{"a":"a"},"b":[{"a":1},{"a":1}]}'), 'it')).toHaveProperty('b');
  });

  it('that is nested without end is refused', async () => {
    for (const depth of [101, 200_000])
      await refuse(`{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`, /nested more than 100 deep/);
    expect(parseObject(bytes(`{"a":${'['.repeat(99)}${']'.repeat(99)}}`), 'it')).toHaveProperty('a');
  });
});

describe('a table', () => {
  const path = join(folder, 't.csv');

  it('comes back as it was written', async () => {
    await writeCsv(path, [
      { a: 1, b: 'x, "y"\nz' },
      { a: null, b: true, c: 0.5 },
    ]);
    expect(await readCsv(path)).toEqual([
      { a: '1', b: 'x, "y"\nz', c: '' },
      { a: '', b: 'true', c: '0.5' },
    ]);
  });

  it('without the row that was being written', async () => {
    writeFileSync(path, 'a,b\n1,2\n3,4');
    expect(await readCsv(path)).toEqual([{ a: '1', b: '2' }]);
    writeFileSync(path, '');
    expect(await readCsv(path)).toEqual([]);
  });

  it('whose rows have other cells than columns is refused', async () => {
    for (const [row, says] of [
      ['3', /row 2 has 1 of 2 cells/],
      ['3,4,5', /row 2 has 3 of 2 cells/],
      ['"3', /is no table/],
    ] as const) {
      writeFileSync(path, `a,b\n1,2\n${row}\n`);
      expectTyped(await failureOf(() => readCsv(path)), { code: 'ATTN_FORMAT', says });
    }
  });
});
