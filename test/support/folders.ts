/** Folders that tests write in. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, onTestFinished } from 'vitest';

/** For files that are small: a run waits until its disk has each of them, which a disk in memory has at once. */
export const memory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

const make = (root: string): string => mkdtempSync(join(root, 'attn-vk-test-'));
const end = (folder: string): void => rmSync(folder, { recursive: true, force: true });

/** One that ends with the test. */
export function temporary(): string {
  const folder = make(memory);
  onTestFinished(() => end(folder));
  return folder;
}

/** One that ends with the tests of a file. */
export function scratch(root = tmpdir()): string {
  const folder = make(root);
  afterAll(() => end(folder));
  return folder;
}
