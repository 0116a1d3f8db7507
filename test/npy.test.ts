/** npy: what NumPy wrote is read, what is written is what it writes, and no file can do harm. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readNpy, writeNpy } from '../src/io/index.js';
import { DTypeError, FormatError } from '../src/runtime/errors.js';
import { allocateArray, encode } from '../src/tensor/dtype.js';
import { sizeOf } from '../src/tensor/shape.js';
import { failureOf } from './support/errors.js';

const fixtures = fileURLToPath(new URL('./fixtures/formats/', import.meta.url));
let folder: string;
let path: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
  path = join(folder, 'x.npy');
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(bytes: Uint8Array) {
  writeFileSync(path, bytes);
  return readNpy(path);
}

/** A file of this dictionary and so many bytes of data. */
function fileOf(dict: string, data = 0, version = [1, 0]): Buffer {
  const length = Buffer.alloc(version[0] === 1 ? 2 : 4);
  length.writeUIntLE(dict.length, 0, length.length);
  return Buffer.concat([
    Buffer.from('\x93NUMPY', 'latin1'),
    Buffer.from(version),
    length,
    Buffer.from(dict, 'latin1'),
    Buffer.alloc(data),
  ]);
}
const dict = (descr: string, shape: string, order = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': ${shape}, }`;

describe('files of NumPy', () => {
  it('are read, in versions 1 and 2; float64 in 32 bits where no value changes', () => {
    const of = (name: string) => readNpy(join(fixtures, `${name}.npy`));
    expect(of('v1')).toEqual({
      dtype: 'float32',
      shape: [2, 3],
      data: Float32Array.of(0, 0.25, 0.5, 0.75, 1, 1.25),
    });
    expect(of('v2')).toEqual({ dtype: 'bool', shape: [2], data: Uint8Array.of(1, 0) });
    expect(of('half')).toEqual({ dtype: 'float16', shape: [3], data: encode('float16', [0, 1, 2]) });
    expect(of('scalar')).toEqual({ dtype: 'int32', shape: [], data: Int32Array.of(7) });
    expect(of('double')).toEqual({ dtype: 'float32', shape: [2], data: Float32Array.of(0.5, -2) });
  });

  it.each(['v1', 'half', 'scalar'])('are what is written here, byte for byte: %s', (name) => {
    const file = join(fixtures, `${name}.npy`);
    writeNpy(path, readNpy(file));
    expect(readFileSync(path)).toEqual(readFileSync(file));
  });

  it('of another order are refused by name', () => {
    expect(() => readNpy(join(fixtures, 'fortran.npy'))).toThrow(
      /fortran.npy: it is in Fortran order.*\n.*ascontiguousarray/,
    );
    expect(() => readNpy(join(fixtures, 'big.npy'))).toThrow(/big.npy: it holds '>f4'.*\n.*astype/);
  });
});

it('reads what it wrote, bit for bit', () => {
  const shape = fc.array(fc.nat(4), { maxLength: 5 });
  const dtype = fc.constantFrom('float32', 'float16', 'int32', 'uint8', 'bool');
  fc.assert(
    fc.property(dtype, shape, fc.nat(), (dtype, shape, seed) => {
      const data = allocateArray(dtype, sizeOf(shape));
      const bytes = new Uint8Array(data.buffer);
      bytes.forEach((_, i) => {
        bytes[i] = dtype === 'bool' ? (seed >> (i % 8)) & 1 : seed * 31 + i;
      });
      writeNpy(path, { dtype, shape, data });
      const again = readNpy(path);
      expect(again).toMatchObject({ dtype, shape });
      expect(Buffer.from(again.data.buffer)).toEqual(Buffer.from(data.buffer));
    }),
    { numRuns: 50, seed: 1 },
  );
});

it('refuses bfloat16, which the format does not know', async () => {
  const error = await failureOf(() =>
    writeNpy(path, { dtype: 'bfloat16', shape: [1], data: new Uint16Array(1) }),
  );
  expect(error).toBeInstanceOf(DTypeError);
});

describe('a hostile file is refused', () => {
  const wrong: [what: string, bytes: Buffer, says: RegExp][] = [
    ['an empty file', Buffer.alloc(0), /no npy file/],
    ['another file', Buffer.from('PK\x03\x04 an archive of arrays'), /no npy file/],
    ['a version that there is not', fileOf(dict('<f4', '(1,)'), 4, [4, 0]), /version 4.0/],
    ['a header past the end', fileOf(dict('<f4', '(1,)')).subarray(0, 40), /ends within its header/],
    ['a length that is cut', fileOf('', 0, [2, 0]).subarray(0, 10), /ends within its header/],
    ['no dictionary', fileOf('(1, 2)'), /cannot be read/],
    ['a dictionary that is not closed', fileOf("{'descr': '<f4'"), /cannot be read/],
    ['a key too few', fileOf("{'descr': '<f4', 'shape': (1,), }", 4), /cannot be read/],
    [
      'a key that stands twice',
      fileOf("{'descr': '<f4', 'descr': '<f4', 'shape': (1,), }", 4),
      /cannot be read/,
    ],
    ['a key too many', fileOf(`${dict('<f4', '(1,)').slice(0, -1)}'x': True}`, 4), /cannot be read/],
    ['code', fileOf("{'descr': '<f4', 'fortran_order': False, 'shape': (exit(),)}"), /cannot be read/],
    [
      'fields',
      fileOf("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4),
      /cannot be read/,
    ],
    ['objects', fileOf(dict('|O', '(1,)'), 8), /it holds '\|O'/],
    ['an order that is none', fileOf(dict('<f4', '(1,)', "'C'"), 4), /cannot be read/],
    ['a shape that is no tuple', fileOf(dict('<f4', '(1)x'), 4), /cannot be read/],
    ['a negative size', fileOf(dict('<f4', '(-1,)'), 4), /cannot be read/],
    ['sizes that overflow', fileOf(dict('<f4', `(${2 ** 50}, ${2 ** 50})`), 4), /too large/],
    ['too few bytes', fileOf(dict('<f4', '(2,)'), 7), /8 bytes, and has 7/],
    ['too many bytes', fileOf(dict('<f4', '(2,)'), 9), /8 bytes, and has 9/],
    ['a boolean that is neither', Buffer.concat([fileOf(dict('|b1', '(1,)')), Buffer.of(2)]), /booleans/],
  ];
  it.each(wrong)('%s', async (_, bytes, says) => {
    const error = (await failureOf(() => read(bytes))) as FormatError;
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(says);
    expect(error.message).toContain(path);
    expect(error.hint).toBeTruthy();
  });

  it('of any bytes, and of a file with some changed', () => {
    const whole = readFileSync(join(fixtures, 'v1.npy'));
    const survives = (bytes: Uint8Array) => {
      try {
        const { shape, data } = read(bytes);
        expect(data.length).toBe(sizeOf(shape));
        expect(data.byteLength).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
      }
    };
    const changes = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(2), fc.uint8Array({ maxLength: 2 })), {
      minLength: 1,
      maxLength: 3,
    });
    const changed = (list: [number, number, Uint8Array][]) =>
      list.reduce(
        (bytes, [at, remove, insert]) =>
          Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)]),
        whole,
      );
    fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 160 }), changes.map(changed)), survives), {
      numRuns: 300,
      seed: 2,
    });
  });
});
