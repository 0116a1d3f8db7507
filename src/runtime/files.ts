/** Files appear whole or not at all: written beside the target, made durable, then renamed over it. */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AttnError, StorageError } from './errors.js';

/** Names under which this process is writing: two writers of one file do not write into each other. */
const writing = new Set<string>();

function reserve(path: string): string {
  const name = `${resolve(path)}.${process.pid}`;
  let partial = `${name}.tmp`;
  for (let n = 1; writing.has(partial); n++) partial = `${name}.${n}.tmp`;
  writing.add(partial);
  return partial;
}

/** A file that has its name once it is whole. Whoever opens one ends it: `commit()`, or `abandon()`. */
export class PartialFile {
  readonly #partial: string;
  #fd: number | undefined;

  /** @throws StorageError where nothing can be written; as all that follows */
  constructor(readonly path: string) {
    this.#partial = reserve(path);
    this.#fd = this.#guarded(() => {
      mkdirSync(dirname(path), { recursive: true });
      return openSync(this.#partial, 'w');
    });
  }

  write(bytes: Uint8Array): void {
    this.#guarded(() => {
      for (let at = 0; at < bytes.length; )
        at += writeSync(this.#fd!, bytes, at, Math.min(bytes.length - at, 2 ** 30));
    });
  }

  /** The file has its name, and survives a loss of power. */
  commit(): void {
    this.#guarded(() => {
      fsyncSync(this.#fd!);
      this.#close();
      renameSync(this.#partial, this.path);
      writing.delete(this.#partial);
      syncFolder(dirname(this.path));
    });
  }

  /** Nothing is left of it. */
  abandon(): void {
    this.#close();
    rmSync(this.#partial, { force: true });
    writing.delete(this.#partial);
  }

  #close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #guarded<T>(fn: () => T): T {
    try {
      return fn();
    } catch (error) {
      try {
        this.abandon();
      } catch {} // the first failure is the one to tell
      throw storageError(this.path, error);
    }
  }
}

/** @throws StorageError; what stood at `path` before is left as it was */
export function writeAtomic(path: string, data: string | Uint8Array): void {
  const file = new PartialFile(path);
  file.write(typeof data === 'string' ? Buffer.from(data) : data);
  file.commit();
}

/** Makes the names in a folder durable, where the system can. */
export function syncFolder(folder: string): void {
  let fd: number | undefined;
  try {
    fd = openSync(folder, 'r');
    fsyncSync(fd);
  } catch {
    // Some file systems sync no folders; the names are then as durable as they make them.
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** @throws StorageError */
export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw storageError(path, error, 'read');
  }
}

const reasons: Record<string, [why: string, hint: string]> = {
  ENOENT: ['there is no such file', 'is the path right?'],
  ENOTDIR: ['a part of the path is no folder', 'is the path right?'],
  EISDIR: ['it is a folder', 'name a file'],
  EACCES: ['permission denied', 'choose a place that you may use, or change its permissions'],
  EPERM: ['permission denied', 'choose a place that you may use, or change its permissions'],
  EROFS: ['the file system is read-only', 'choose another place'],
  ENOSPC: ['the disk is full', 'make room, or choose another place'],
  EDQUOT: ['the disk quota is used up', 'make room, or choose another place'],
};

/** What the file system refused, as a member of the family. */
export function storageError(path: string, error: unknown, doing: 'read' | 'write' = 'write'): unknown {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  if (error instanceof AttnError || code === undefined) return error;
  const [why, hint] = reasons[code] ?? [code, 'see what the system says of it'];
  return new StorageError(`cannot ${doing} ${path}: ${why}`, { hint, cause: error });
}
