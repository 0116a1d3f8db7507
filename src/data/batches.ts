/** Batches of an open set: which rows make batch `number` of a split, and what they hold. */
import { ArgumentError, OutOfMemoryError } from '../runtime/errors.js';
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import { type AnyDataConfig, type DataSet, type Split, splits } from './data.js';
import { permutation } from './order.js';

/** Rows [batch, length], one after the other. */
export interface Batch {
  ids: Int32Array;
  labels: Int32Array;
  /** Where the set knows it. */
  truth?: Uint8Array;
  batch: number;
  length: number;
}

export interface DataInfo {
  name: string;
  vocab: number;
  tokenizer: Tokenizer | null;
  bytesPerToken: Readonly<Record<Split, number>> | null;
  /** Rows of each split; Infinity where they are made as they are asked for. */
  rows: Readonly<Record<Split, number>>;
  facts: Record<string, string | number | boolean>;
}

export function describe(set: DataSet, name: string): DataInfo {
  const { vocab, tokenizer, bytesPerToken } = set;
  const rows = { train: set.rows('train'), val: set.rows('val'), test: set.rows('test') };
  return { name, vocab, tokenizer, bytesPerToken, rows, facts: set.facts() };
}

/** Batches of a split: what it takes to read every row once. */
export const batchCount = (rows: number, batch: number): number => Math.ceil(rows / batch);

/**
 * The last batch of a split; training has no end.
 * @throws ArgumentError for a batch that the split does not have
 */
export function checkRequest(
  loader: { info: DataInfo; batches(split: Split): number },
  split: Split,
  number: number,
): number {
  const known = Object.hasOwn(loader.info.rows, split);
  const count = known ? loader.batches(split) : 0;
  const last = split === 'train' && count > 0 ? Number.MAX_SAFE_INTEGER : count - 1;
  if (Number.isInteger(number) && number >= 0 && number <= last) return last;
  throw new ArgumentError(`there is no batch ${number} of '${split}' in '${loader.info.name}'`, {
    op: 'batch',
    hint: known ? `'${split}' has ${count} batches, numbered from 0` : `splits: ${splits.join(', ')}`,
  });
}

/** One buffer for a batch: ids, then labels, then truth. */
export interface Packed {
  buffer: ArrayBuffer;
  rows: number;
  truth: boolean;
}

export function unpack({ buffer, rows, truth }: Packed, length: number): Batch {
  const n = rows * length;
  const ids = new Int32Array(buffer, 0, n);
  const labels = new Int32Array(buffer, 4 * n, n);
  const batch: Batch = { ids, labels, batch: rows, length };
  if (truth) batch.truth = new Uint8Array(buffer, 8 * n, n);
  return batch;
}

/**
 * Makes batches, each a pure function of its number. Training reads one endless sequence of rows: row
 * g = number · batch + j is row g mod n of epoch ⌊g / n⌋, n the rows of the split, in the order of that epoch; so every
 * batch is full, no row is dropped, and fewer rows than a batch will do. Evaluation reads rows in sequence to the end.
 */
export class BatchMaker {
  /** The order of an epoch: the last one made. */
  private order: { epoch: number; at: (index: number) => number } | undefined;

  constructor(
    private readonly set: DataSet,
    private readonly config: AnyDataConfig,
    private readonly seed: number,
    private readonly truth = knowsTruth(set, config),
  ) {}

  make(split: Split, number: number): Packed {
    const { batch, length } = this.config;
    const total = this.set.rows(split);
    const first = number * batch;
    const rows = split === 'train' ? batch : Math.min(batch, total - first);
    const n = rows * length;
    const buffer = room((this.truth ? 9 : 8) * n, rows, length);
    for (let j = 0; j < rows; j++) {
      const { index, epoch } = this.place(split, total, first + j);
      this.set.read(split, index, epoch, {
        ids: new Int32Array(buffer, 4 * j * length, length),
        labels: new Int32Array(buffer, 4 * (n + j * length), length),
        truth: this.truth ? new Uint8Array(buffer, 8 * n + j * length, length) : undefined,
      });
    }
    return { buffer, rows, truth: this.truth };
  }

  private place(split: Split, total: number, global: number): { index: number; epoch: number } {
    if (split !== 'train' || total === Number.POSITIVE_INFINITY) return { index: global, epoch: 0 };
    const epoch = Math.floor(global / total);
    const index = global % total;
    if (this.config.order === 'sequential') return { index, epoch };
    if (this.order?.epoch !== epoch) this.order = { epoch, at: permutation(total, this.seed, epoch) };
    return { index: this.order.at(index), epoch };
  }
}

function room(bytes: number, rows: number, length: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new OutOfMemoryError(`a batch of ${rows} rows of ${length} tokens takes ${bytes} bytes`, {
      op: 'batch',
      hint: 'make batches or rows smaller: data.batch, data.length',
      cause,
    });
  }
}

/** Does the set fill in `truth`? It is given room once and looked at: a set that knows leaves no 255 of a topic. */
function knowsTruth(set: DataSet, { length }: AnyDataConfig): boolean {
  const truth = new Uint8Array(length).fill(255);
  const split = splits.find((s) => set.rows(s) > 0);
  if (!split) return false;
  set.read(split, 0, 0, { ids: new Int32Array(length), labels: new Int32Array(length), truth });
  return truth.some((topic) => topic !== 255);
}
