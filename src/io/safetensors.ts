/**
 * safetensors (https://huggingface.co/docs/safetensors): 8 bytes of length, a JSON header, the values of the tensors one
 * after the other. Written as its own library writes, so that equal tensors give equal files.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FormatError } from '../runtime/errors.js';
import { PartialFile, storageError } from '../runtime/files.js';
import { allocateArray } from '../tensor/dtype.js';
import { bytesOf, checkHost, type HostTensor, narrowed, type TensorSource } from './host.js';
import { type Entry, headerLength, makeHeader, parseHeader } from './safetensors.header.js';

export { fromHost, type HostTensor, type TensorSource, toHost } from './host.js';

type Metadata = Readonly<Record<string, string>>;

/**
 * Writes tensors by name: the file appears whole, durable, or not at all.
 * @throws ArgumentError for tensors whose parts do not fit, StorageError where it cannot be written
 */
export function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, HostTensor>>,
  metadata: Metadata = {},
): void {
  for (const [name, value] of Object.entries(tensors)) checkHost('writeSafetensors', name, value);
  const { bytes, names } = makeHeader(tensors, metadata);
  const file = new PartialFile(path);
  file.write(bytes);
  for (const name of names) file.write(bytesOf(tensors[name]!.data));
  file.commit();
}

/** As `writeSafetensors`, of tensors that are read one at a time: no more than one is in memory. */
export async function streamSafetensors(
  path: string,
  tensors: Readonly<Record<string, TensorSource>>,
  metadata: Metadata = {},
): Promise<void> {
  const { bytes, names } = makeHeader(tensors, metadata);
  const file = new PartialFile(path);
  try {
    file.write(bytes);
    for (const name of names) {
      const { dtype, shape, read } = tensors[name]!;
      const data = await read();
      checkHost('writeSafetensors', name, { dtype, shape, data });
      file.write(bytesOf(data));
    }
  } catch (error) {
    file.abandon();
    throw error;
  }
  file.commit();
}

/**
 * Every tensor of a file, each in memory of its own. F64 is read as float32 and I64 as int32 where that changes no value.
 * @throws FormatError for a file that breaks the format, StorageError for one that cannot be read
 */
export function readSafetensors(path: string): {
  tensors: Record<string, HostTensor>;
  metadata: Record<string, string>;
} {
  using file = new SafetensorsFile(path);
  const tensors = file.names.map((name) => [name, file.read(name)] as const);
  return { tensors: Object.fromEntries(tensors), metadata: file.metadata };
}

/** A file that is open: its header is checked, its tensors are read one by one. */
export class SafetensorsFile {
  readonly metadata: Record<string, string>;
  readonly #entries: ReadonlyMap<string, Entry>;
  readonly #fd: number;
  #open = true;

  /** @throws as `readSafetensors` */
  constructor(readonly path: string) {
    try {
      this.#fd = openSync(path, 'r');
    } catch (error) {
      throw storageError(path, error, 'read');
    }
    try {
      const { size } = fstatSync(this.#fd);
      const length = headerLength(this.#bytes(0, Math.min(8, size)), size, path);
      const { entries, metadata } = parseHeader(this.#bytes(8, length), size, path);
      this.#entries = new Map(entries.map((entry) => [entry.name, entry]));
      this.metadata = metadata;
    } catch (error) {
      this.close();
      throw storageError(path, error, 'read');
    }
  }

  /** In the order in which they lie. */
  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** dtype as it is read, and shape; undefined where there is no such tensor. */
  describe(name: string): Pick<Entry, 'dtype' | 'shape'> | undefined {
    return this.#entries.get(name);
  }

  read(name: string): HostTensor {
    const entry = this.#entries.get(name);
    if (!entry)
      throw new FormatError(`there is no tensor '${name}' in ${this.path}`, {
        hint: 'names lists those there are',
      });
    const { stored, dtype, shape, begin, end } = entry;
    if (stored === 'F64' || stored === 'I64')
      return {
        dtype,
        shape,
        data: narrowed(stored, this.#bytes(begin, end - begin), `'${name}' in ${this.path}`),
      };
    const data = allocateArray(
      dtype,
      shape.reduce((n, d) => n * d, 1),
    );
    this.#fill(bytesOf(data), begin, end);
    if (dtype === 'bool' && data.some((x) => x > 1))
      throw new FormatError(`'${name}' in ${this.path} is BOOL and holds more than 0 and 1`, {
        hint: 'the file is damaged',
      });
    return { dtype, shape, data };
  }

  close(): void {
    if (this.#open) closeSync(this.#fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #bytes(from: number, count: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(count);
    this.#fill(bytes, from, from + count);
    return bytes;
  }

  #fill(into: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; ) {
      const read = readSync(this.#fd, into, at - from, Math.min(to - at, 2 ** 30), at);
      if (read === 0)
        throw new FormatError(`${this.path} ends at byte ${at}`, { hint: 'it was cut while it was read' });
      at += read;
    }
  }
}
