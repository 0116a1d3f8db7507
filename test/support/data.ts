/** Data sets as tests open them, and real text where ATTN_VK_DATA names its folder. */
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { AnyDataConfig, DataSet, Row, Split } from '../../src/data/data.js';
import { dataKinds, parseData } from '../../src/data/registry.js';

/** Every sample of every set in the registry. */
export const samples: readonly { name: string; config: AnyDataConfig }[] = dataKinds.flatMap((kind) =>
  kind.samples.map((sample, i) => ({
    name: `${kind.name} ${i}`,
    config: parseData({ name: kind.name, ...sample }),
  })),
);

export function readRow(set: DataSet, split: Split, index: number, length: number, epoch = 0): Row {
  const row = { ids: new Int32Array(length), labels: new Int32Array(length), truth: new Uint8Array(length) };
  set.read(split, index, epoch, row);
  return row;
}

/** A folder for the files of a test. */
export function temporary(files: Record<string, string | Uint8Array> = {}): string {
  const folder = mkdtempSync(join(tmpdir(), 'attn-vk-data-'));
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

/** Text of numbers: no part of it comes twice. */
export const countingText = (lines: number, first = 1): string =>
  Array.from({ length: lines }, (_, i) => `${first + i} squared is ${(first + i) ** 2}.\n`).join('');

/** Real text where there is some; tests name what they read, so that the fallback shows. */
export const realData: string | undefined =
  process.env.ATTN_VK_DATA && existsSync(process.env.ATTN_VK_DATA) ? process.env.ATTN_VK_DATA : undefined;
export const ofWhat = realData ? 'real text' : 'GENERATED TEXT, since ATTN_VK_DATA names no folder';
