/** Arrays of NumPy (numpy.lib.format): little endian, in C order. */
import { DTypeError, FormatError } from '../runtime/errors.js';
import { readBytes, writeAtomic } from '../runtime/files.js';
import { allocateArray, type DType, dtypeBytes } from '../tensor/dtype.js';
import { bytesOf, checkHost, type HostTensor, narrowed } from './host.js';

const descrOf: Partial<Record<DType, string>> = {
  float32: '<f4',
  float16: '<f2',
  int32: '<i4',
  uint8: '|u1',
  bool: '|b1',
};
const dtypeOf = new Map(Object.entries(descrOf).map(([dtype, descr]) => [descr, dtype as DType]));
const wide = new Map<string, DType>([
  ['<f8', 'float32'],
  ['<i8', 'int32'],
]);

const MAGIC = Buffer.from('\x93NUMPY', 'latin1');

/** @throws DTypeError for bfloat16, which the format does not know; StorageError where it cannot be written */
export function writeNpy(path: string, value: HostTensor): void {
  const { dtype, shape, data } = checkHost('writeNpy', 'the tensor', value);
  const descr = descrOf[dtype];
  if (!descr) throw new DTypeError(`npy has no ${dtype}`, { op: 'writeNpy', hint: 'cast it to float32' });
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const length = Math.ceil((MAGIC.length + 4 + dict.length + 1) / 64) * 64; // data are aligned to 64 bytes
  const header = Buffer.alloc(length, ' ');
  MAGIC.copy(header);
  header.writeUInt16LE(1, MAGIC.length); // version 1.0
  header.writeUInt16LE(length - MAGIC.length - 4, MAGIC.length + 2);
  header.write(dict, MAGIC.length + 4, 'latin1');
  header.write('\n', length - 1);
  writeAtomic(path, Buffer.concat([header, bytesOf(data)]));
}

/**
 * An array; float64 is read as float32, int64 as int32, where that changes no value.
 * @throws FormatError for a file that breaks the format, is of another order or another byte order, or of another dtype
 */
export function readNpy(path: string): HostTensor {
  const file = readBytes(path);
  const fail = (what: string, hint = 'the file is damaged, or something else'): never => {
    throw new FormatError(`${path}: ${what}`, { hint });
  };
  if (file.length < 10 || MAGIC.compare(file, 0, MAGIC.length) !== 0) return fail('it is no npy file');
  const [major, minor] = file.subarray(MAGIC.length) as unknown as [number, number];
  if (major < 1 || major > 3 || minor !== 0)
    return fail(`it is of version ${major}.${minor}`, 'versions are 1 to 3');
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const first = major === 1 ? 10 : 12;
  if (file.length < first) return fail('it ends within its header');
  const start = first + (major === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (start > file.length) return fail('it ends within its header');
  const { descr, order, shape } =
    parseDict(Buffer.from(file.subarray(first, start)).toString('latin1')) ??
    fail('its header cannot be read');
  const dtype = dtypeOf.get(descr) ?? wide.get(descr);
  if (!dtype)
    return fail(
      `it holds '${descr}'`,
      `what can be read is ${[...dtypeOf.keys(), ...wide.keys()].join(' ')}: convert it with astype`,
    );
  if (order === 'True') return fail('it is in Fortran order', 'save numpy.ascontiguousarray of it');
  const narrows = wide.has(descr);
  let bytes = narrows ? 8 : dtypeBytes[dtype];
  for (const d of shape) if (!Number.isSafeInteger((bytes *= d))) return fail(`it is [${shape}]: too large`);
  const body = file.subarray(start);
  if (bytes !== body.length) return fail(`it is ${descr} [${shape}], ${bytes} bytes, and has ${body.length}`);
  if (narrows) return { dtype, shape, data: narrowed(descr === '<f8' ? 'F64' : 'I64', body, path) };
  const data = allocateArray(dtype, bytes / dtypeBytes[dtype]);
  bytesOf(data).set(body);
  if (dtype === 'bool' && data.some((x) => x > 1))
    return fail('it is of booleans and holds more than 0 and 1');
  return { dtype, shape, data };
}

/** The three entries of the header, a dictionary in Python's notation; null for anything else. */
function parseDict(text: string): { descr: string; order: string; shape: number[] } | null {
  const body = /^\s*\{(.*)\}\s*$/.exec(text)?.[1] ?? '';
  const entries = [...body.matchAll(/\s*'(\w+)'\s*:\s*('[^']*'|True|False|\([\d, ]*\))\s*(?:,|$)/gy)];
  const {
    descr,
    fortran_order: order,
    shape,
  } = Object.fromEntries(entries.map(([, key, value]) => [key, value]));
  const read = entries.reduce((n, [whole]) => n + whole.length, 0);
  const sizes = /^\(((?:\d+, *)*)(\d+)?\)$/.exec(shape ?? '');
  if (
    entries.length !== 3 ||
    body.slice(read).trim() ||
    !descr?.startsWith("'") ||
    !/^[TF]/.test(order ?? '') ||
    !sizes
  )
    return null;
  return { descr: descr.slice(1, -1), order: order!, shape: (shape!.match(/\d+/g) ?? []).map(Number) };
}
