/** safetensors: what its own library wrote is read, what is written is what it writes, and no file can do harm. */
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  fromHost,
  type HostTensor,
  readSafetensors,
  SafetensorsFile,
  streamSafetensors,
  toHost,
  writeSafetensors,
} from '../src/io/index.js';
import { AttnError, FormatError } from '../src/runtime/errors.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { allocateArray, type DType, decode, dtypes, encode } from '../src/tensor/dtype.js';
import { sizeOf } from '../src/tensor/shape.js';
import { failureOf } from './support/errors.js';
import { cpu } from './support/sides.js';

const fixtures = fileURLToPath(new URL('./fixtures/formats/', import.meta.url));
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
  path = join(folder, 'x.safetensors');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A file of this header and so many bytes of data. */
function fileOf(header: unknown, data = 0, length?: bigint): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const first = Buffer.alloc(8);
  first.writeBigUInt64LE(length ?? BigInt(json.length));
  return Buffer.concat([first, json, Buffer.alloc(data)]);
}

function read(bytes: Uint8Array) {
  writeFileSync(path, bytes);
  return readSafetensors(path);
}

/** The values that fixtures/make_formats.py gives tensor n. */
const made = (n: number, dtype: DType, size: number) =>
  Array.from({ length: size }, (_, i) => {
    const v = ((i * 7 + n) % 11) - 5;
    return dtype === 'bool' ? Number(v > 0) : dtype === 'uint8' ? Math.abs(v) : v;
  });

describe('files of Python', () => {
  const cases: [name: string, shape: number[], dtype: DType][] = JSON.parse(
    readFileSync(join(fixtures, 'all.json'), 'utf8'),
  );

  it('are read: every dtype, scalars, empty tensors, names of any letters', () => {
    const { tensors, metadata } = readSafetensors(join(fixtures, 'all.safetensors'));
    expect(metadata).toEqual({ 'made by': 'Python' });
    expect(Object.keys(tensors).sort()).toEqual(cases.map(([name]) => name).sort());
    for (const [n, [name, shape, dtype]] of cases.entries()) {
      expect(tensors[name]).toMatchObject({ shape, dtype });
      expect([...decode(dtype, tensors[name]!.data)], name).toEqual(made(n, dtype, sizeOf(shape)));
    }
  });

  it('are what is written here of the same tensors, byte for byte, whatever their order', async () => {
    const { tensors, metadata } = readSafetensors(join(fixtures, 'all.safetensors'));
    const given = Object.fromEntries(cases.map(([name]) => [name, tensors[name]!]));
    const wanted = readFileSync(join(fixtures, 'all.safetensors'));
    writeSafetensors(path, given, metadata);
    expect(readFileSync(path)).toEqual(wanted);
    const streamed = Object.entries(given).map(([name, { dtype, shape, data }]) => [
      name,
      { dtype, shape, read: async () => data },
    ]);
    await streamSafetensors(path, Object.fromEntries(streamed), metadata);
    expect(readFileSync(path)).toEqual(wanted);
  });

  it('of F64 and I64 are read in 32 bits where no value changes, else refused', () => {
    const { tensors } = readSafetensors(join(fixtures, 'wide.safetensors'));
    expect(tensors.double).toEqual({ dtype: 'float32', shape: [3], data: Float32Array.of(-5, 2, -2) });
    expect(tensors.long).toEqual({ dtype: 'int32', shape: [2, 2], data: Int32Array.of(-4, 3, -1, -5) });
    const wide = (dtype: string, bytes: Buffer) =>
      Buffer.concat([fileOf({ x: { dtype, shape: [1], data_offsets: [0, 8] } }), bytes]);
    const double = Buffer.alloc(8);
    double.writeDoubleLE(0.1);
    expect(() => read(wide('F64', double))).toThrow(/'x' .* is F64, and 0.1 is no float32/);
    double.writeBigInt64LE(2n ** 31n);
    expect(() => read(wide('I64', double))).toThrow(/is I64, and 2147483648 is no int32/);
    double.writeDoubleLE(Number.NaN);
    expect(read(wide('F64', double)).tensors.x!.data).toEqual(Float32Array.of(Number.NaN));
  });
});

const tensorOf = fc
  .record({ dtype: fc.constantFrom(...dtypes), shape: fc.array(fc.nat(3), { maxLength: 4 }), seed: fc.nat() })
  .map(({ dtype, shape, seed }): HostTensor => {
    const data = allocateArray(dtype, sizeOf(shape));
    // Any bits will do: what is stored is not looked at.
    const bytes = new Uint8Array(data.buffer);
    bytes.forEach((_, i) => {
      bytes[i] = dtype === 'bool' ? (seed >> (i % 8)) & 1 : (seed >>> (i % 4)) * 31 + i;
    });
    return { dtype, shape, data };
  });
const nameOf = fc
  .string({ unit: 'grapheme', maxLength: 8 })
  .filter((name) => name !== '__proto__' && name !== '__metadata__');
const dictOf = fc.dictionary(nameOf, tensorOf, { maxKeys: 6, noNullPrototype: true });

describe('what is written is read again', () => {
  it('bit for bit', () => {
    fc.assert(
      fc.property(
        dictOf,
        fc.dictionary(nameOf, fc.string(), { noNullPrototype: true }),
        (tensors, metadata) => {
          writeSafetensors(path, tensors, metadata);
          const again = readSafetensors(path);
          expect(again.metadata).toEqual(metadata);
          expect(Object.keys(again.tensors).sort()).toEqual(Object.keys(tensors).sort());
          for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
            expect(again.tensors[name]).toMatchObject({ dtype, shape: [...shape] });
            expect(Buffer.from(again.tensors[name]!.data.buffer)).toEqual(Buffer.from(data.buffer));
          }
          expect(readFileSync(path).readBigUInt64LE() % 8n, 'data are aligned').toBe(0n);
        },
      ),
      { numRuns: 60, seed: 1 },
    );
  });

  it('one tensor at a time', () => {
    writeSafetensors(path, {
      a: { dtype: 'int32', shape: [2], data: Int32Array.of(1, 2) },
      b: { dtype: 'uint8', shape: [1], data: Uint8Array.of(7) },
    });
    const file = new SafetensorsFile(path);
    expect(file.names).toEqual(['a', 'b']);
    expect(file.describe('b')).toMatchObject({ dtype: 'uint8', shape: [1] });
    expect(file.describe('c')).toBeUndefined();
    expect(file.read('b').data).toEqual(Uint8Array.of(7));
    expect(() => file.read('c')).toThrow(/no tensor 'c'/);
    file.close();
    file.close();
  });

  it('with one tensor in memory at a time: the next is asked for when the one before is in the file', async () => {
    const partial = `${path}.${process.pid}.tmp`;
    const sizes: number[] = [];
    const source = {
      dtype: 'uint8' as const,
      shape: [1000],
      read: async () => {
        sizes.push(statSync(partial).size);
        return new Uint8Array(1000);
      },
    };
    await streamSafetensors(path, { a: source, b: source, c: source });
    expect(sizes.map((n) => n - sizes[0]!)).toEqual([0, 1000, 2000]);
    expect(readSafetensors(path).tensors.c!.data).toEqual(new Uint8Array(1000));
  });

  it('by way of tensors of a runtime', async () => {
    const runtime = new Runtime(cpu.options);
    useRuntime(runtime);
    const host = {
      a: { dtype: 'bfloat16' as const, shape: [2], data: encode('bfloat16', [1, -2]) as Uint16Array },
    };
    const dict = fromHost(host);
    expect(await toHost(dict)).toEqual(host);
    dict.a!.dispose();
    expect(runtime.tensors).toBe(0);
    useRuntime(undefined);
    runtime.dispose();
  });
});

/** Headers that lie, and what is said of them. */
const entry = (changes: object = {}) => ({ dtype: 'F32', shape: [2], data_offsets: [0, 8], ...changes });
const hostile: [what: string, bytes: Buffer, says: RegExp][] = [
  ['an empty file', Buffer.alloc(0), /it has 0 bytes/],
  ['a file of seven bytes', Buffer.alloc(7), /it has 7 bytes/],
  ['a header of length 0', fileOf('', 0), /header has 0 bytes/],
  ['a header of length 1', fileOf('{', 0), /header has 1 bytes/],
  ['a header of 2^64 - 1 bytes', fileOf({}, 0, 2n ** 64n - 1n), /header has 18446744073709551615 bytes/],
  ['a header of more than 100 MB', fileOf({}, 0, 100_000_001n), /header has 100000001 bytes/],
  ['a header past the end', fileOf({}, 5, 8n), /header has 8 bytes, the file 15/],
  ['a header that is cut', fileOf({ x: entry() }).subarray(0, 30), /was it written to the end/],
  ['no JSON', fileOf('{"x": nonsense}'), /is not JSON/],
  ['no UTF-8', fileOf('{}').fill(0xff, 9), /is not JSON/],
  ['blanks before the header', fileOf(' {}'), /does not begin with \{/],
  ['an array', fileOf('[]'), /does not begin with \{/],
  ['text after the header', fileOf('{}x'), /is not JSON/],
  ['a key that stands twice', fileOf('{"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /key "x" twice/],
  ['a key that stands twice in other letters', fileOf('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /key "a" twice/],
  ['a key that stands twice in a tensor', fileOf('{"x":{"dtype":"U8","dtype":"F32","shape":[0],"data_offsets":[0,0]}}'), /key "dtype" twice/],
  ['metadata of numbers', fileOf({ __metadata__: { step: 3 } }), /metadata .* 'step'/],
  ['metadata that are a list', fileOf({ __metadata__: ['a'] }), /metadata/],
  ['metadata named __proto__', fileOf('{"__metadata__":{"__proto__":"x"}}'), /metadata .* '__proto__'/],
  ['a tensor named __proto__', fileOf('{"__proto__":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /"__proto__" cannot be/],
  ['a tensor that is a number', fileOf({ x: 3 }), /"x" is 3/],
  ['a tensor that is null', fileOf({ x: null }), /"x" is null/],
  ['a tensor without a shape', fileOf({ x: { dtype: 'F32', data_offsets: [0, 8] } }, 8), /has shape undefined/],
  ['a tensor with more to it', fileOf({ x: entry({ strides: [1] }) }, 8), /has a key 'strides'/],
  ['a dtype that there is not', fileOf({ x: entry({ dtype: 'F8_E4M3' }) }, 8), /has dtype "F8_E4M3"/],
  ['a dtype that objects inherit', fileOf({ x: entry({ dtype: 'constructor' }) }, 8), /has dtype "constructor"/],
  ['a dtype that is a list', fileOf({ x: entry({ dtype: ['F32'] }) }, 8), /has dtype \["F32"\]/],
  ['a negative size', fileOf({ x: entry({ shape: [-2] }) }, 8), /has shape \[-2\]/],
  ['a fractional size', fileOf({ x: entry({ shape: [0.5] }) }, 8), /has shape \[0.5\]/],
  ['a size past what integers are', fileOf(`{"x":{"dtype":"F32","shape":[1e300],"data_offsets":[0,8]}}`, 8), /has shape/],
  ['sizes whose product overflows', fileOf({ x: entry({ shape: [2 ** 40, 2 ** 40] }) }, 8), /too large/],
  ['sizes whose product overflows before it is 0', fileOf({ x: entry({ shape: [2 ** 40, 2 ** 40, 0], data_offsets: [0, 0] }) }), /too large/],
  ['a shape that is a text', fileOf({ x: entry({ shape: '2' }) }, 8), /has shape "2"/],
  ['too few bytes for the shape', fileOf({ x: entry({ data_offsets: [0, 4] }) }, 4), /F32 \[2\], 8 bytes, and has 4/],
  ['too many bytes for the shape', fileOf({ x: entry({ data_offsets: [0, 12] }) }, 12), /8 bytes, and has 12/],
  ['three offsets', fileOf({ x: entry({ data_offsets: [0, 8, 8] }) }, 8), /data_offsets/],
  ['offsets backwards', fileOf({ x: entry({ data_offsets: [8, 0] }) }, 8), /lies from 8 to 0/],
  ['offsets past the end', fileOf({ x: entry() }, 7), /lies from 0 to 8 of 7 bytes/],
  ['offsets at the end of numbers', fileOf({ x: entry({ data_offsets: [2 ** 53 - 9, 2 ** 53 - 1] }) }, 8), /lies from/],
  ['negative offsets', fileOf({ x: entry({ data_offsets: [-8, 0] }) }, 8), /data_offsets \[-8,0\]/],
  ['a gap before the first tensor', fileOf({ x: entry({ data_offsets: [4, 12] }) }, 12), /4 after/],
  ['a gap between tensors', fileOf({ x: entry(), y: entry({ data_offsets: [9, 17] }) }, 17), /1 after/],
  ['tensors that overlap', fileOf({ x: entry(), y: entry({ data_offsets: [4, 12] }) }, 12), /inside the tensor before/],
  ['tensors that are the same bytes', fileOf({ x: entry(), y: entry() }, 8), /inside the tensor before/],
  ['bytes after the last tensor', fileOf({ x: entry() }, 9), /1 bytes after its last/],
  ['bytes after no tensor', fileOf({}, 1), /1 bytes after its last/],
  ['a boolean that is neither', Buffer.concat([fileOf({ x: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] } }), Buffer.of(2)]), /BOOL/],
]; // biome-ignore format: a table

describe('a hostile file is refused', () => {
  it.each(hostile)('%s', async (_, bytes, says) => {
    const error = (await failureOf(() => read(bytes))) as FormatError;
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(says);
    expect(error.message).toContain(path);
    expect(error.hint).toBeTruthy();
  });

  it('and nothing that is read changes what objects are', () => {
    const { tensors, metadata } = read(
      fileOf(
        '{"__metadata__":{"constructor":"x"},"toString":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
      ),
    );
    expect(Object.keys(tensors)).toEqual(['toString']);
    expect(metadata).toEqual({ constructor: 'x' });
    expect(Object.getPrototypeOf(tensors)).toBe(Object.prototype);
  });

  /** The right tensors, or FormatError: nothing else is thrown. */
  const survives = (bytes: Uint8Array) => {
    try {
      const { tensors } = read(bytes);
      const held = Object.values(tensors).reduce((n, { data }) => n + data.byteLength, 0);
      expect(held).toBeLessThanOrEqual(bytes.length);
      for (const { dtype, shape, data } of Object.values(tensors)) {
        expect(dtypes).toContain(dtype);
        expect(data.length).toBe(sizeOf(shape));
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      expect(error.hint).toBeTruthy();
    }
  };

  it('of any bytes', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), survives), { numRuns: 150, seed: 2 });
  });

  it('of any JSON for a header', () => {
    const value = fc.json({ maxDepth: 3 });
    fc.assert(
      fc.property(value, fc.nat(32), (header, data) => survives(fileOf(header, data))),
      { numRuns: 150, seed: 3 },
    );
  });

  it('of a file with some bytes changed, left out or put in', () => {
    const whole = readFileSync(join(fixtures, 'all.safetensors'));
    const change = fc.record({
      at: fc.nat(whole.length - 1),
      remove: fc.nat(2),
      insert: fc.uint8Array({ maxLength: 2 }),
    });
    const digits = fc.record({
      at: fc.nat(whole.length - 1),
      remove: fc.constant(1),
      insert: fc.constantFrom(...'0123456789-.e"[]{},:').map((c) => Buffer.from(c)),
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(change, digits), { minLength: 1, maxLength: 3 }), (changes) =>
        survives(
          changes.reduce(
            (bytes, { at, remove, insert }) =>
              Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]),
            whole,
          ),
        ),
      ),
      { numRuns: 400, seed: 4 },
    );
  });

  it('of a file that ends early', () => {
    const whole = readFileSync(join(fixtures, 'all.safetensors'));
    for (let length = 0; length < whole.length; length += 7)
      expect(() => read(whole.subarray(0, length))).toThrow(FormatError);
  });
});

describe('what cannot be written', () => {
  const x: HostTensor = { dtype: 'float32', shape: [2], data: Float32Array.of(1, 2) };
  const wrong: [what: string, tensors: unknown, metadata: unknown, says: RegExp][] = [
    ['data of another length', { x: { ...x, shape: [3] } }, {}, /'x' is float32\[3\].* of 2/],
    ['data of another type', { x: { ...x, dtype: 'int32' } }, {}, /'x' is int32\[2\], its data Float32Array/],
    ['a dtype that there is not', { x: { ...x, dtype: 'float64' } }, {}, /unknown dtype float64/],
    ['a size that is none', { x: { ...x, shape: [-2] } }, {}, /-2 of shape/],
    ['no tensor', { x: null }, {}, /'x' is null/],
    ['a tensor named __metadata__', { __metadata__: x }, {}, /"__metadata__"/],
    ['a tensor named __proto__', Object.fromEntries([['__proto__', x]]), {}, /"__proto__"/],
    ['a name of half a letter', { '\ud800': x }, {}, /name/],
    ['metadata that are no text', { x }, { step: 3 }, /metadata 'step' is number/],
  ];
  it.each(wrong)('%s', async (_, tensors, metadata, says) => {
    rmSync(path, { force: true });
    const error = await failureOf(() => writeSafetensors(path, tensors as never, metadata as never));
    expect(error).toBeInstanceOf(AttnError);
    expect((error as AttnError).message).toMatch(says);
    expect((error as AttnError).hint).toBeTruthy();
    expect(readdirSync(folder), 'nothing is left').not.toContain('x.safetensors');
  });

  it('leaves the file before it, and nothing beside it, when a tensor cannot be read', async () => {
    writeSafetensors(path, { x });
    const before = readFileSync(path);
    const source = { dtype: 'float32' as const, shape: [2], read: () => Promise.reject(new Error('gone')) };
    await expect(streamSafetensors(path, { x: source })).rejects.toThrow('gone');
    const short = { ...source, read: async () => Float32Array.of(1) };
    await expect(streamSafetensors(path, { x: short })).rejects.toThrow(/its data Float32Array of 1/);
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(folder)).toEqual(['x.safetensors']);
  });

  it('says where nothing can be written or read, and why', () => {
    const blocked = join(path, 'below', 'x.safetensors'); // path is a file
    expect(() => writeSafetensors(blocked, { x })).toThrow(
      /cannot write .*: a part of the path is no folder/,
    );
    expect(() => readSafetensors(join(folder, 'none'))).toThrow(/cannot read .*: there is no such file/);
    expect(() => readSafetensors(folder)).toThrow(/cannot read .*: it is a folder/);
    mkdirSync(join(folder, 'shut'));
    if (process.getuid?.() === 0) return; // root may write anywhere
    chmodSync(join(folder, 'shut'), 0o500);
    expect(() => writeSafetensors(join(folder, 'shut', 'x'), { x })).toThrow(/permission denied/);
  });

  it('on a full disk, tells so and leaves the file before it alone', async () => {
    writeSafetensors(path, { x });
    const before = readFileSync(path);
    symlinkSync('/dev/full', `${path}.${process.pid}.tmp`); // where it is written first
    const error = await failureOf(() => writeSafetensors(path, { x }));
    expect(error).toMatchObject({
      code: 'ATTN_STORAGE',
      message: expect.stringContaining('the disk is full'),
    });
    expect(readFileSync(path)).toEqual(before);
    expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });
});
