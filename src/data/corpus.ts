/** Texts as a data set: three of them, tokenized, cut in windows or in lines. */
import { createHash } from 'node:crypto';
import { DataError } from '../runtime/errors.js';
import { makeTokenizer, type TokenizerConfig, tokenizerSchema } from '../tokenizer/index.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type DataContext, type DataSet, IGNORED, type Row, type Split, splits } from './data.js';
import { fixedWindows, movingWindows } from './order.js';

/** Of every set of text. */
export const textOptions = {
  tokenizer: tokenizerSchema.default({ kind: 'byte' }).describe(tokenizerSchema.description!),
};

export type Texts = Readonly<Record<Split, Uint8Array>>;

/** Ids as narrow as their vocabulary allows: bytes are held as the file has them. */
type Ids = Uint8Array | Uint16Array | Int32Array;

/** How the tokens of one split become rows. */
interface Rows {
  count: number;
  read(index: number, epoch: number, into: Row): void;
}

export interface CorpusOptions {
  length: number;
  tokenizer: TokenizerConfig;
  /** 'line': a row is a line, or a piece of one; the rest of the row is ignored. Default 'contiguous'. */
  by?: 'contiguous' | 'line';
  facts: Record<string, string | number | boolean>;
}

/**
 * The tokenizer learns from the training text alone.
 * @throws DataError for a text of `length` tokens or fewer, or one that the tokenizer cannot represent
 */
export function corpus(texts: Texts, options: CorpusOptions, { seed }: DataContext): DataSet {
  const { length, by = 'contiguous' } = options;
  const { file } = options.facts;
  const tokenizer = ofSplit('train', file, () => makeTokenizer(options.tokenizer, texts.train));
  const parts = bySplit((split) => (by === 'line' ? lines(texts[split]) : [texts[split]]));
  const ids = bySplit((split) => ofSplit(split, file, () => encode(tokenizer, parts[split])));
  const rows: Record<Split, Rows> =
    by === 'line'
      ? bySplit((split) => lineRows(ids[split], length))
      : bySplit((split) => windowRows(ids[split][0]!, length, split === 'train' ? seed : undefined));
  checkLength(ids, rows, length);
  const tokens = bySplit((split) => sum(ids[split].map((part) => part.length)));
  const bytes = bySplit((split) => sum(parts[split].map((part) => part.length)));
  return {
    vocab: tokenizer.vocab,
    tokenizer,
    bytesPerToken: bySplit((split) => bytes[split] / tokens[split]),
    rows: (split) => rows[split].count,
    read: (split, index, epoch, into) => rows[split].read(index, epoch, into),
    facts: () => ({
      ...options.facts,
      tokenizer: tokenizer.kind,
      ...Object.fromEntries(
        splits.flatMap((split) => [
          [`${split}Bytes`, bytes[split]],
          [`${split}Tokens`, tokens[split]],
        ]),
      ),
      rowsAre: by === 'line' ? 'lines' : 'windows',
    }),
  };
}

const bySplit = <T>(of: (split: Split) => T): Record<Split, T> => ({
  train: of('train'),
  val: of('val'),
  test: of('test'),
});

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

export const sha256 = (...parts: readonly Uint8Array[]): string =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest('hex');

/**
 * Contiguous parts of a text, 90, 5 and 5 in a hundred of its bytes. For tokens other than bytes, a boundary inside of
 * a character moves to its beginning.
 */
export function contiguous(text: Uint8Array, tokenizer: TokenizerConfig): Texts {
  const cut = (share: number) => {
    const at = Math.floor(text.length * share);
    return tokenizer.kind === 'byte' ? at : characterStart(text, at);
  };
  const [a, b] = [cut(0.9), cut(0.95)];
  return { train: text.subarray(0, a), val: text.subarray(a, b), test: text.subarray(b) };
}

/** The beginning of the UTF-8 character that byte `at` belongs to. */
function characterStart(text: Uint8Array, at: number): number {
  let start = at;
  while (start > 0 && start > at - 3 && (text[start]! & 0xc0) === 0x80) start--;
  return start;
}

/** A text that was cut at some byte, without the beginning of a character that it may end in. */
export function wholeCharacters(text: Uint8Array): Uint8Array {
  const start = characterStart(text, text.length - 1);
  const first = text[start]!;
  const size = first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  return start + size > text.length ? text.subarray(0, start) : text;
}

/** The lines of a text, each with its newline, without those of white space alone. */
function lines(text: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let start = 0; start < text.length; ) {
    const newline = text.indexOf(10, start);
    const end = newline < 0 ? text.length : newline + 1;
    const line = text.subarray(start, end);
    if (line.some((byte) => byte > 32)) found.push(line);
    start = end;
  }
  return found;
}

function encode(tokenizer: Tokenizer, parts: readonly Uint8Array[]): Ids[] {
  // Bytes are their own ids: nothing is copied.
  if (tokenizer.kind === 'byte') return [...parts];
  const Narrow = tokenizer.vocab <= 256 ? Uint8Array : tokenizer.vocab <= 65536 ? Uint16Array : undefined;
  return parts.map((part) => {
    const ids = tokenizer.encode(part);
    return Narrow ? Narrow.from(ids) : ids;
  });
}

/** What a tokenizer refuses is told with the split and the file that it is of. */
function ofSplit<T>(split: Split, file: unknown, fn: () => T): T {
  try {
    return fn();
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
    const where = typeof file === 'string' ? ` of ${file}` : '';
    throw new DataError(`the ${split} split${where}: ${error.what}`, { hint: error.hint, cause: error });
  }
}

function windowRows(ids: Ids, length: number, seed: number | undefined): Rows {
  const { count, start } =
    seed === undefined ? fixedWindows(ids.length, length) : movingWindows(ids.length, length, seed);
  return {
    count,
    read(index, epoch, into) {
      const at = start(index, epoch);
      into.ids.set(ids.subarray(at, at + length));
      into.labels.set(ids.subarray(at + 1, at + length + 1));
    },
  };
}

/**
 * Row after row the pieces of `length` tokens of each line. The last token of a line has no label, and what a row has
 * beyond it repeats that token and is ignored. Epochs differ by their order alone.
 */
function lineRows(parts: readonly Ids[], length: number): Rows {
  const pieces = parts.flatMap((line) =>
    Array.from({ length: Math.ceil((line.length - 1) / length) }, (_, k) => ({ line, start: k * length })),
  );
  return {
    count: pieces.length,
    read(index, _epoch, { ids, labels }) {
      const { line, start } = pieces[index]!;
      const piece = line.subarray(start, start + length);
      const next = line.subarray(start + 1, start + length + 1);
      ids.set(piece);
      ids.fill(line.at(-1)!, piece.length);
      labels.set(next);
      labels.fill(IGNORED, next.length);
    },
  };
}

function checkLength(ids: Record<Split, Ids[]>, rows: Record<Split, Rows>, length: number): void {
  const short = splits.find((split) => rows[split].count === 0);
  if (!short) return;
  const tokens = bySplit((split) => sum(ids[split].map((part) => part.length)));
  const largest = Math.min(...splits.map((split) => tokens[split] - 1));
  if (tokens[short] > length)
    throw new DataError(`no line of the ${short} split has two tokens`, { hint: 'read it by: contiguous' });
  throw new DataError(
    `length ${length} needs ${length + 1} tokens of the ${short} split, which has ${tokens[short]}`,
    {
      hint:
        largest > 0
          ? `the largest length that every split has room for is ${largest}; or take more data`
          : 'take more data',
    },
  );
}
