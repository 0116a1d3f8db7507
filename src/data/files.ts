/** Files of text: where they are looked for, how they are unpacked, and what is no text. Nothing is downloaded. */
import { createReadStream, existsSync, readdirSync, type Stats, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { DataError } from '../runtime/errors.js';

/** Where data is looked for: the folder that ATTN_VK_DATA names, then ./data. */
export const dataFolders = (): string[] => [
  ...(process.env.ATTN_VK_DATA ? [process.env.ATTN_VK_DATA] : []),
  'data',
];

export interface Wanted {
  /** 'enwik8', as messages call it. */
  what: string;
  /** A file, or a folder that has it; without one the data folders are searched. */
  path?: string;
  /** Names of the file, best first. */
  names: readonly RegExp[];
  /** How a person reads them: 'enwik8, enwik8.gz'. */
  called: string;
  /** Folders within a data folder that are searched as well. */
  folders?: readonly string[];
  /** Where to get it, with its bytes and SHA-256 where they are known. */
  get: string;
}

/**
 * The file that is wanted: of the first folder and the first name that has one, all that bear the name, sorted.
 * @throws DataError that lists where it was looked for and says where to get it
 */
export function findFiles(wanted: Wanted): string[] {
  const { what, path, called, get } = wanted;
  const { files, folders } = search(wanted);
  if (files.length > 0) return files;
  const zip = folders.flatMap((folder) =>
    namesIn(folder)
      .filter(isZipOf(what))
      .map((n) => join(folder, n)),
  )[0];
  if (zip) throw zipped(zip);
  const tried = folders.map((folder) => `${folder}${existsSync(folder) ? '' : ' (no such folder)'}`);
  const places =
    path === undefined ? [...tried, ...(process.env.ATTN_VK_DATA ? [] : ['ATTN_VK_DATA (not set)'])] : tried;
  throw new DataError(`${what} is not there: looked for ${called} in ${places.join(', ')}`, {
    hint: `${get}; then name it with the option path, or put its folder in ATTN_VK_DATA`,
  });
}

export const findFile = (wanted: Wanted): string => findFiles(wanted)[0]!;

/** As findFiles, where it may be missing: none, then. */
export const findIfThere = (wanted: Wanted): string[] => search(wanted).files;

function search({ path, names, folders: within = [] }: Wanted): { files: string[]; folders: string[] } {
  const given = path === undefined ? undefined : locate(path);
  if (given && statSync(given).isFile()) return { files: [given], folders: [dirname(given)] };
  const roots = path === undefined ? dataFolders() : [given ?? path];
  const folders = roots.flatMap((root) => [
    root,
    ...within.map((name) => join(root, name)).filter(existsSync),
  ]);
  for (const folder of folders)
    for (const name of names) {
      const found = namesIn(folder)
        .filter((n) => name.test(n))
        .sort();
      if (found.length > 0) return { files: found.map((n) => join(folder, n)), folders };
    }
  return { files: [], folders };
}

/**
 * The file that a path names, as it stands or within a data folder.
 * @throws DataError where it is none
 */
export function fileAt(path: string): string {
  const file = locate(path);
  if (file === undefined) {
    const places = isAbsolute(path) ? [path] : [path, ...dataFolders().map((folder) => join(folder, path))];
    throw new DataError(`${path} is not there: looked for ${places.join(', ')}`, {
      hint: 'correct the path, or put the folder that has it in ATTN_VK_DATA',
    });
  }
  checkFile(file);
  return file;
}

/** A path as it stands, or within a data folder. */
export const locate = (path: string): string | undefined =>
  [path, ...(isAbsolute(path) ? [] : dataFolders().map((folder) => join(folder, path)))].find(existsSync);

/** Of the files in a folder; none where there is no such folder. */
function namesIn(folder: string): string[] {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [];
  try {
    const entries = readdirSync(folder, { withFileTypes: true });
    return entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    throw unreadable(folder, error as NodeJS.ErrnoException);
  }
}

const isZipOf = (what: string) => {
  const plain = (name: string) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
  return (name: string) => name.endsWith('.zip') && plain(name).startsWith(plain(what));
};

/** Kinds of files that are packed or no text, by how they begin. */
const magics: readonly [name: string, bytes: readonly number[], advice: (path: string) => string][] = [
  ['a zip archive', [0x50, 0x4b, 3, 4], (p) => `unpack it: unzip ${p} -d ${dirname(p)}`],
  ['bzip2', [0x42, 0x5a, 0x68], (p) => `unpack it: bunzip2 ${p}`],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a], (p) => `unpack it: unxz ${p}`],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd], (p) => `unpack it: unzstd ${p}`],
  [
    'Parquet',
    [0x50, 0x41, 0x52, 0x31],
    () => "data set 'text' reads a column of it: name it with the option column",
  ],
];

const zipped = (path: string): DataError =>
  new DataError(`${path} is a zip archive, which is not read`, { hint: magics[0]![2](path) });

const GZIP = [0x1f, 0x8b];
const begins = (bytes: Uint8Array, magic: readonly number[]): boolean =>
  magic.every((b, i) => bytes[i] === b);

/**
 * The first `limit` bytes of a file, unpacked where it is gzip: told by how it begins, not by its name.
 * @throws DataError: no file, not readable, empty, truncated or corrupted gzip
 */
export async function readUnpacked(path: string, limit = Number.POSITIVE_INFINITY): Promise<Uint8Array> {
  checkFile(path);
  const packed = begins(await readPlain(path, GZIP.length), GZIP);
  const bytes = await (packed ? readGzip : readPlain)(path, limit);
  if (bytes.length === 0)
    throw new DataError(`${path} ${packed ? 'unpacks to nothing' : 'is empty'}`, { hint: 'get it again' });
  return bytes;
}

/**
 * As readUnpacked, of what has to be text.
 * @throws DataError for binary files as well
 */
export async function readText(path: string, limit?: number): Promise<Uint8Array> {
  const bytes = await readUnpacked(path, limit);
  const known = magics.find(([, magic]) => begins(bytes, magic));
  if (known) throw new DataError(`${path} is ${known[0]}, not text`, { hint: known[2](path) });
  const reason = binary(bytes);
  if (reason)
    throw new DataError(`${path} is not text: ${reason}`, {
      hint: 'give UTF-8; from UTF-16: iconv -f UTF-16 -t UTF-8',
    });
  return bytes;
}

/** Why bytes are no text: a byte 0, or more than one in twenty of the first 64 Ki that stands for no character. */
export function binary(bytes: Uint8Array): string | undefined {
  const nul = bytes.indexOf(0);
  if (nul >= 0) return `byte ${nul} is 0`;
  const sample = bytes.subarray(0, 65536);
  let controls = 0;
  // Tab to carriage return, escape and the separators of files, groups, records and units belong to texts.
  for (const b of sample) if (b < 9 || (b > 13 && b < 27) || b === 127) controls++;
  return controls * 20 > sample.length
    ? `${controls} of its first ${sample.length} bytes are control characters`
    : undefined;
}

function statsOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw unreadable(path, error as NodeJS.ErrnoException); // a link to nowhere
  }
}

/** @throws DataError */
export function checkFile(path: string): void {
  const stats = statsOf(path);
  if (!stats.isFile())
    throw new DataError(`${path} is ${stats.isDirectory() ? 'a folder' : 'no regular file'}`, {
      hint: 'name a file',
    });
  if (stats.size === 0) throw new DataError(`${path} is empty`, { hint: 'get it again' });
}

/** The first bytes of a file as they are, read into one buffer of their size. */
async function readPlain(path: string, limit: number): Promise<Uint8Array> {
  try {
    await using file = await open(path);
    const { size } = await file.stat();
    const bytes = new Uint8Array(Math.min(limit, size));
    let have = 0;
    for (let read = 1; read > 0 && have < bytes.length; have += read)
      read = (await file.read(bytes, have, bytes.length - have)).bytesRead;
    return bytes.subarray(0, have);
  } catch (error) {
    throw unreadable(path, error as NodeJS.ErrnoException);
  }
}

/** Raised to end a stream early. */
class Enough extends Error {}

/** What unpacks to more than this, and to so many times its size, is no text but a bomb. */
const BOMB = { bytes: 2 ** 26, times: 500 };

/** The first bytes that a gzip file unpacks to. */
async function readGzip(path: string, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let have = 0;
  const most = Math.max(BOMB.bytes, BOMB.times * statsOf(path).size);
  const sink = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      const wanted = chunk.subarray(0, limit - have);
      chunks.push(wanted);
      have += wanted.length;
      done(have >= limit ? new Enough() : have > most ? bomb(path) : null);
    },
  });
  try {
    await pipeline(createReadStream(path), createGunzip({ chunkSize: 1 << 20 }), sink);
  } catch (error) {
    if (error instanceof DataError) throw error;
    if (!(error instanceof Enough)) throw unreadable(path, error as NodeJS.ErrnoException);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

const bomb = (path: string): DataError =>
  new DataError(`${path} unpacks to more than ${BOMB.times} times its size`, {
    hint: 'is it text? The option bytes takes only the first of it',
  });

/** What the file system or gzip refused. */
export function unreadable(path: string, cause: NodeJS.ErrnoException): DataError {
  if (cause.code?.startsWith('Z_'))
    return new DataError(
      cause.code === 'Z_BUF_ERROR'
        ? `${path} is truncated: its gzip stream ends too early`
        : `${path} is corrupted: ${cause.message}`,
      { hint: `get it again; gzip -t ${basename(path)} tells whether it is whole`, cause },
    );
  return new DataError(`${path} cannot be read: ${cause.message}`, { hint: 'make it readable', cause });
}
