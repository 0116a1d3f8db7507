/** Configurations of a test in a folder of their own, and what is said of those that cannot be. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import type { ConfigError } from '../../src/runtime/errors.js';
import { loadRunConfig } from '../../src/train/run-config.js';
import { expectTyped } from './errors.js';
import { temporary } from './folders.js';

/** A run. */
export const valid = `data:
  name: copy
  length: 64
  batch: 4
model:
  layers: 1
  dim: 32
  heads: 4
  attention:
    kind: tt
    rank: 4
train:
  steps: 10
`;

let home: string;
const before = process.cwd();
beforeEach(() => {
  home = temporary();
  process.chdir(home);
});
afterEach(() => process.chdir(before));

/** Files of the test, by their paths; the first is the one that is loaded. */
export function loading(files: Record<string, string | Uint8Array>, ...sets: string[]) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(home, dirname(name)), { recursive: true });
    writeFileSync(join(home, name), text);
  }
  return loadRunConfig(Object.keys(files)[0]!, { sets });
}

export function failure(fn: () => unknown): ConfigError {
  try {
    fn();
  } catch (error) {
    return expectTyped(error, { code: 'ATTN_CONFIG' }) as ConfigError;
  }
  throw new Error('expected a ConfigError');
}

/** What loading the text says, and that it says where. */
export function refused(text: string, place: string, message: RegExp, hint: RegExp, ...sets: string[]): void {
  const error = failure(() => loading({ 'x.yaml': text }, ...sets));
  expect(error.what).toMatch(message);
  expect(error.hint).toMatch(hint);
  expect(error.message.startsWith(`${place}: `), `${error.message} at ${place}`).toBe(true);
  const [file, line, column] = place.split(':');
  if (file === 'x.yaml') expect(error).toMatchObject({ file, line: Number(line), column: Number(column) });
}
