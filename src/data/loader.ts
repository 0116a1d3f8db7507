/** Batches of a data set, made ahead of training in a thread of their own. */
import type { Tokenizer } from '../tokenizer/tokenizer.js';
import type { Split } from './data.js';

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

export interface Loader {
  readonly info: DataInfo;
  /**
   * Batch `number` of a split, from 0: a pure function of the configuration, the seed and the number. In 'train' the
   * rows of each epoch come in an order of its own; 'val' and 'test' are read in sequence, and the last batch may have
   * fewer rows. The batches that follow are made meanwhile.
   */
  batch(split: Split, number: number): Promise<Batch>;
  /** Batches of a split: of an epoch in 'train'. Infinity where rows are made as they are asked for. */
  batches(split: Split): number;
  close(): Promise<void>;
}

export interface LoaderOptions {
  seed: number;
  /** Batches made ahead; 0 makes each when it is asked for, in the calling thread. Default 4. */
  ahead?: number;
}
