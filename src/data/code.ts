/** The text files of a git checkout. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { closest } from 'fastest-levenshtein';
import { z } from 'zod';
import { DataError } from '../runtime/errors.js';
import { corpus, sha256, type Texts, textOptions } from './corpus.js';
import { defineData } from './data.js';
import { binary, locate, unreadable } from './files.js';

/** Ends each file: the file separator of ASCII. */
const SEPARATOR = Uint8Array.of(0x1c);

export const codeData = defineData({
  name: 'code',
  doc: 'the tracked text files of a git checkout, each of them whole in one split: 90, 5 and 5 % of the bytes',
  source: 'a checkout of the user',
  options: {
    path: z.string().min(1).default('.').describe('the checkout, or a folder of it'),
    extensions: z
      .array(z.string().regex(/^\.?[^./]+$/))
      .default([])
      .describe('of the files that are taken: [ts, md]; none for every text file'),
    largest: z.int().min(1).default(1_000_000).describe('bytes of a file above which it is left out'),
    ...textOptions,
  },
  samples: [{ path: 'test/fixtures/data', length: 32, batch: 3 }],
  open({ path, extensions, largest, length, tokenizer }, context) {
    const folder = locate(path);
    if (!folder)
      throw new DataError(`there is no folder ${path}`, {
        hint: 'name a local git checkout: nothing is cloned',
      });
    const wanted = new Set(extensions.map((e) => `.${e.replace(/^\./, '')}`));
    // A file that is being merged is listed once for each side.
    const tracked = [...new Set(git(folder, ['ls-files', '-z']).split('\0').filter(Boolean))];
    const named = tracked.filter((name) => wanted.size === 0 || wanted.has(extname(name)));
    const { files, skipped } = readAll(folder, named, largest);
    if (files.length === 0) throw nothing(folder, tracked, wanted);
    const texts = bySplit(files);
    const facts = {
      folder,
      commit: git(folder, ['rev-parse', '--verify', '-q', 'HEAD'], true).trim() || 'none',
      files: files.length,
      ...skipped,
      bytes: files.reduce((total, { text }) => total + text.length, 0),
      sha256: sha256(texts.train, texts.val, texts.test),
    };
    return corpus(texts, { length, tokenizer, facts }, context);
  },
});

interface File {
  name: string;
  text: Uint8Array;
}

/** The text files, and how many others there were. Links and submodules are no files of this checkout. */
function readAll(folder: string, names: readonly string[], largest: number) {
  const files: File[] = [];
  const skipped = { skippedBinary: 0, skippedLarge: 0, skippedMissing: 0 };
  for (const name of names) {
    const path = join(folder, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    if (!stats) skipped.skippedMissing++;
    if (!stats?.isFile() || stats.size === 0) continue;
    if (stats.size > largest) skipped.skippedLarge++;
    else {
      const text = read(path);
      if (binary(text)) skipped.skippedBinary++;
      else files.push({ name, text });
    }
  }
  return { files, skipped };
}

function read(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw unreadable(path, error as NodeJS.ErrnoException);
  }
}

/**
 * Files in the order of the hash of their names: the first to make up 5 % of all bytes are for validation, the next
 * 5 % for testing, all others for training; so that no file is in two splits, and one that is added moves no more than
 * those at the boundaries. Validation and testing get one at least. Within a split they come by name.
 */
function bySplit(files: readonly File[]): Texts {
  const rank = ({ name }: File) => createHash('sha256').update(name).digest('hex');
  const total = files.reduce((sum, { text }) => sum + text.length, 0);
  const parts: Record<keyof Texts, File[]> = { train: [], val: [], test: [] };
  let before = 0;
  for (const { file } of files
    .map((file) => ({ file, key: rank(file) }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))) {
    const split =
      before < total * 0.05 ? 'val' : before < total * 0.1 || parts.test.length === 0 ? 'test' : 'train';
    parts[split].push(file);
    before += file.text.length;
  }
  const join = (list: File[]) =>
    Buffer.concat(list.sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap(({ text }) => [text, SEPARATOR]));
  return { train: join(parts.train), val: join(parts.val), test: join(parts.test) };
}

function git(folder: string, args: readonly string[], optional = false): string {
  const { stdout, stderr, status, error } = spawnSync('git', ['-C', folder, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  if (status === 0 || (optional && !error)) return stdout;
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT')
    throw new DataError('git is not installed', {
      hint: 'install it: sudo apt-get install git',
      cause: error,
    });
  throw new DataError(`${folder} is not a git checkout: ${(error?.message ?? stderr).trim()}`, {
    hint: 'git clone the repository, or use data set text for other files',
    cause: error,
  });
}

function nothing(folder: string, tracked: readonly string[], wanted: ReadonlySet<string>): DataError {
  const there = [...new Set(tracked.map((name) => extname(name)))].filter(Boolean);
  const asked = [...wanted][0];
  const hint =
    asked && there.length > 0
      ? `did you mean '${closest(asked, there)}'? Extensions: ${there.sort().join(', ')}`
      : 'git add some, or name another folder';
  return new DataError(
    `${folder} has no tracked text file${wanted.size ? ` that ends in ${[...wanted].join(' or ')}` : ''}`,
    {
      hint,
    },
  );
}
