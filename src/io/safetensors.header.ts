/** The header of a safetensors file: where each tensor lies. Whatever it says is checked against the file's size. */
import { ArgumentError, FormatError } from '../runtime/errors.js';
import { type DType, dtypeBytes } from '../tensor/dtype.js';
import { sizeOf } from '../tensor/shape.js';
import { isObject, parseObject } from './json.js';

/** dtypes that can be written, in the order of the format's enumeration, which tensors are sorted by from the end. */
const written = {
  bool: 'BOOL',
  uint8: 'U8',
  float16: 'F16',
  bfloat16: 'BF16',
  int32: 'I32',
  float32: 'F32',
} as const;
const order = Object.keys(written) as DType[];

/** What files may hold: the dtype in which it is read, and its bytes. Wider ones are read where no value changes. */
const readable: ReadonlyMap<string, { dtype: DType; bytes: number }> = new Map([
  ...order.map((dtype) => [written[dtype], { dtype, bytes: dtypeBytes[dtype] }] as const),
  ['F64', { dtype: 'float32', bytes: 8 }],
  ['I64', { dtype: 'int32', bytes: 8 }],
]);

/** A longer header is not taken. */
const MAX_HEADER = 100_000_000;
const METADATA = '__metadata__';
/** Assigning this name to an object would change what the object is. */
const FORBIDDEN = '__proto__';

export interface Entry {
  name: string;
  /** In the file. */
  stored: string;
  /** As it is read. */
  dtype: DType;
  shape: readonly number[];
  /** Bytes from the start of the file. */
  begin: number;
  end: number;
}

export interface Header {
  /** In the order in which they lie. */
  entries: readonly Entry[];
  metadata: Record<string, string>;
}

/** Bytes of the header that follow the first eight. */
export function headerLength(first: Uint8Array, size: number, path: string): number {
  const fail = (what: string, hint: string): never => {
    throw new FormatError(`${path} is no safetensors file: ${what}`, { hint });
  };
  if (first.length < 8)
    return fail(`it has ${size} bytes`, 'the shortest has ten: was it written to the end?');
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > MAX_HEADER) return fail(`its header has ${length} bytes`, `${MAX_HEADER} are the most`);
  if (length < 2) return fail(`its header has ${length} bytes`, 'the shortest, {}, has two');
  if (Number(length) > size - 8)
    return fail(`its header has ${length} bytes, the file ${size}`, 'was it written to the end?');
  return Number(length);
}

/**
 * @param size of the file
 * @throws FormatError unless the tensors fill what follows the header, without gaps and overlaps
 */
export function parseHeader(bytes: Uint8Array, size: number, path: string): Header {
  if (bytes[0] !== 0x7b)
    throw new FormatError(`the header of ${path} does not begin with {`, { hint: damaged });
  const json = parseObject(bytes, `the header of ${path}`);
  const metadata: [string, string][] = [];
  const entries: Entry[] = [];
  const first = 8 + bytes.length;
  for (const [name, value] of Object.entries(json))
    if (name === METADATA) metadata.push(...metadataOf(value, path));
    else entries.push(entryOf(name, value, first, size, path));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = first;
  for (const { name, begin, end } of entries) {
    if (begin !== at)
      throw new FormatError(
        `in ${path}, '${name}' begins at byte ${begin - first} of the data, ${begin < at ? `inside the tensor before it, which ends at ${at - first}` : `${begin - at} after the tensor before it`}`,
        { hint: 'tensors lie one after the other, without gaps' },
      );
    at = end;
  }
  if (at !== size)
    throw new FormatError(`${path} has ${size - at} bytes after its last tensor`, { hint: damaged });
  return { entries, metadata: Object.fromEntries(metadata) };
}

const damaged = 'the file is damaged, or something else';

function metadataOf(value: unknown, path: string): [string, string][] {
  const pairs = isObject(value) ? Object.entries(value) : [['', null] as const];
  for (const [key, text] of pairs)
    if (typeof text !== 'string' || key === FORBIDDEN)
      throw new FormatError(`the metadata of ${path} ${key ? `has '${key}', which is` : 'is'} no text`, {
        hint: 'it is an object of texts by name',
      });
  return pairs as [string, string][];
}

function entryOf(name: string, value: unknown, first: number, size: number, path: string): Entry {
  const fail = (what: string, hint = damaged): never => {
    throw new FormatError(`in ${path}, ${JSON.stringify(name)} ${what}`, { hint });
  };
  if (name === FORBIDDEN) return fail('cannot be the name of a tensor', 'rename it where the file is made');
  if (!isObject(value)) return fail(`is ${JSON.stringify(value)}`, 'it says dtype, shape and data_offsets');
  const { dtype: stored, shape, data_offsets: offsets, ...rest } = value;
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined) return fail(`has a key '${unknown}'`, 'it says dtype, shape and data_offsets');
  const kind = typeof stored === 'string' ? readable.get(stored) : undefined;
  if (!kind)
    return fail(
      `has dtype ${JSON.stringify(stored)}`,
      `what can be read is ${[...readable.keys()].join(', ')}`,
    );
  if (!isSizes(shape)) return fail(`has shape ${JSON.stringify(shape)}`, 'sizes are integers, 0 or more');
  if (!isSizes(offsets) || offsets.length !== 2)
    return fail(`has data_offsets ${JSON.stringify(offsets)}`, 'they are where it begins and ends');
  const [begin, end] = offsets.map((offset) => first + offset) as [number, number];
  if (begin > end || end > size)
    return fail(
      `lies from ${offsets[0]} to ${offsets[1]} of ${size - first} bytes`,
      'was it written to the end?',
    );
  let bytes = kind.bytes;
  for (const d of shape)
    if (!Number.isSafeInteger((bytes *= d))) return fail(`has shape [${shape}]: too large`);
  if (bytes !== end - begin) return fail(`is ${stored} [${shape}], ${bytes} bytes, and has ${end - begin}`);
  return { name, stored: stored as string, dtype: kind.dtype, shape, begin, end };
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((d) => Number.isSafeInteger(d) && d >= 0 && !Object.is(d, -0));

/** Whether a name is text: no half of a letter, which UTF-8 cannot write. */
const isWellFormed = (name: string) => !/\p{Surrogate}/u.test(name);

/** What is told of a tensor that is to be written. */
type Described = { dtype: DType; shape: readonly number[] };

/**
 * The first bytes of a file, length included, and the names in the order of their data: by alignment of their dtype,
 * the widest first, then by name, so that every tensor is aligned.
 */
export function makeHeader(
  tensors: Readonly<Record<string, Described>>,
  metadata: Readonly<Record<string, string>>,
): { bytes: Uint8Array; names: string[] } {
  const utf8 = new Map(Object.keys(tensors).map((name) => [name, Buffer.from(name)] as const));
  for (const name of utf8.keys())
    if (name === METADATA || name === FORBIDDEN || !isWellFormed(name))
      throw new ArgumentError(`a tensor has the name ${JSON.stringify(name)}`, {
        op: 'writeSafetensors',
        hint: 'choose another name',
      });
  for (const [key, value] of Object.entries(metadata))
    if (typeof value !== 'string' || key === FORBIDDEN)
      throw new ArgumentError(`metadata '${key}' is ${typeof value}`, {
        op: 'writeSafetensors',
        hint: 'metadata are texts by name',
      });
  const rank = (name: string) => order.indexOf(tensors[name]!.dtype);
  const names = [...utf8.keys()].sort(
    (a, b) => rank(b) - rank(a) || Buffer.compare(utf8.get(a)!, utf8.get(b)!),
  );
  let at = 0;
  const entries = names.map((name) => {
    const { dtype, shape } = tensors[name]!;
    const begin = at;
    at += sizeOf(shape) * dtypeBytes[dtype];
    return [name, { dtype: written[dtype], shape, data_offsets: [begin, at] }] as const;
  });
  const described = Object.keys(metadata).length > 0 ? [[METADATA, metadata] as const] : [];
  // Stringified one by one: an object would move names like '0' to the front.
  const text = `{${[...described, ...entries].map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(',')}}`;
  const json = Buffer.from(text);
  const padded = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  padded.writeBigUInt64LE(BigInt(padded.length - 8));
  json.copy(padded, 8);
  return { bytes: padded, names };
}
