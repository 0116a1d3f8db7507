/** The folder of a run: what is checked before training begins. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { StorageError } from '../runtime/errors.js';
import { storageError } from '../runtime/files.js';
import { CHECKPOINTS } from './checkpoints.js';

/** What a run writes. */
const own =
  /^(config\.yaml|run\.json|metrics\.csv|entropy_log\.csv|residuals\.csv|events\.out\..*|checkpoints)$/;

const ownFiles = (folder: string): string[] =>
  existsSync(folder) ? readdirSync(folder).filter((name) => own.test(name)) : [];

/** @throws StorageError where a run is there already, or what is there is no folder */
export function checkUnused(folder: string): void {
  const found = ownFilesOf(folder);
  if (found.length > 0)
    throw new StorageError(`there is a run in ${folder} already: ${found.join(', ')}`, {
      hint: 'resume it, overwrite it, or give this one another name: --set name=…',
    });
}

function ownFilesOf(folder: string): string[] {
  try {
    return ownFiles(folder);
  } catch (error) {
    throw storageError(folder, error);
  }
}

/** Ends what an earlier run wrote, and nothing else. */
export function clear(folder: string): void {
  for (const name of ownFilesOf(folder)) rmSync(join(folder, name), { recursive: true, force: true });
}

/**
 * Makes the folder, and makes sure that it can be written and has room for its checkpoints: parameters and two moments of
 * 4 bytes each, for those that are kept, the best, and the one being written.
 * @throws StorageError
 */
export function prepareFolder(
  folder: string,
  { parameters, keep }: { parameters: number; keep: number },
): void {
  try {
    // One by one: a recursive mkdir of Node never ends under a folder that takes none, such as /proc.
    for (const path of missingFolders(join(folder, CHECKPOINTS)).reverse()) mkdirSync(path);
    for (const path of [folder, join(folder, CHECKPOINTS)]) accessSync(path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw storageError(folder, error);
  }
  checkRoom(folder, 12 * parameters * (keep + 2));
}

/** @throws StorageError */
export function checkRoom(folder: string, needed: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free < needed)
    throw new StorageError(
      `checkpoints in ${folder} may take ${megabytes(needed)}, and ${megabytes(free)} are free`,
      { hint: 'make room, keep fewer (train.checkpoint.keep), or choose another folder' },
    );
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;

/** Folders that `path` needs and that are not there: what a run that does not begin takes back. */
export function missingFolders(path: string): string[] {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.push(at);
  return missing;
}

/** Ends folders that are empty. */
export function takeBack(folders: readonly string[]): void {
  for (const folder of folders)
    if (existsSync(folder) && statSync(folder).isDirectory() && readdirSync(folder).length === 0)
      rmSync(folder, { recursive: true });
}
