/**
 * The contract of data sets. A set is a function: row i of a split is the same at every call, in every process, so a
 * position in training is the number of the batch and nothing else. Data sets run off the training thread and import
 * nothing that computes.
 */
import { z } from 'zod';
import type { Tokenizer } from '../tokenizer/tokenizer.js';

export type Split = 'train' | 'val' | 'test';
export const splits = ['train', 'val', 'test'] as const;

/** A label that does not count. */
export const IGNORED = -100;

/** What every set is configured by. */
export const commonOptions = {
  length: z
    .int()
    .min(1)
    .max(2 ** 24)
    .describe('tokens of a row, T'),
  batch: z.int().min(1).describe('rows of a batch'),
  order: z
    .enum(['shuffled', 'sequential'])
    .default('shuffled')
    .describe('of the rows of an epoch in training; evaluation reads them in sequence'),
};

export type Options = Readonly<Record<string, z.ZodType>>;
export type DataConfig<O extends Options> = z.output<z.ZodObject<typeof commonOptions>> &
  z.output<z.ZodObject<O>> & { name: string };

/** A configuration of any kind, defaults filled in. */
export type AnyDataConfig = z.output<z.ZodObject<typeof commonOptions>> & {
  name: string;
  [option: string]: unknown;
};

/** Room for one row. */
export interface Row {
  /** [length] */
  ids: Int32Array;
  /** [length]: what is to be said at each place, the id that follows or the answer of a task; or IGNORED. */
  labels: Int32Array;
  /** [length]: of sets that know it, what made each id: the topic. */
  truth?: Uint8Array;
}

/** A set that is open. */
export interface DataSet {
  /** Ids and labels lie in [0, vocab). */
  readonly vocab: number;
  /** Null where ids stand for themselves. */
  readonly tokenizer: Tokenizer | null;
  /** Bytes of text to a token, by split: what turns a loss into bits per byte. Null where there is no text. */
  readonly bytesPerToken: Readonly<Record<Split, number>> | null;
  /** Rows of a split; Infinity where they are made as they are asked for. */
  rows(split: Split): number;
  /** Writes row `index` of a split, below rows(split). Epochs may cut a text at other places. */
  read(split: Split, index: number, epoch: number, into: Row): void;
  /** What `attn-vk data info` tells beside the above. */
  facts(): Record<string, string | number | boolean>;
}

export interface DataContext {
  /** Of the run: sets that draw take it where they have no seed of their own. */
  seed: number;
}

/** A kind of data set: one file, and one line in index.ts. */
export interface DataKind<O extends Options = Options> {
  readonly name: string;
  /** One line. */
  readonly doc: string;
  readonly source: string;
  /** What the labels that count are: the ids that follow (default), or the answers of a task. */
  readonly labels?: 'next' | 'answers';
  /** zod schemas of what it takes beside the common options, each with a description. */
  readonly options: O;
  /** Configurations that tests walk; they need no file that is not in the repository. */
  readonly samples: readonly Record<string, unknown>[];
  /** What schemas cannot say. @throws ConfigError whose path is `data.` and the option at fault */
  check?(config: DataConfig<O>): void;
  /**
   * @throws DataError for what is missing, empty, too short or no text, saying where to get it, how many bytes it has and
   * its SHA-256
   */
  open(config: DataConfig<O>, context: DataContext): DataSet | Promise<DataSet>;
}

const kinds = new WeakSet<object>();

export function defineData<O extends Options>(kind: DataKind<O>): DataKind<O> {
  kinds.add(kind);
  return Object.freeze(kind);
}

export const isDataKind = (value: unknown): value is DataKind =>
  typeof value === 'object' && value !== null && kinds.has(value);
