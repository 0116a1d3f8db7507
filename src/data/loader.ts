/** Batches of a data set, made ahead of training in a thread of their own. */
import { ArgumentError, DisposedError } from '../runtime/errors.js';
import { AheadLoader } from './ahead.js';
import {
  type Batch,
  BatchMaker,
  batchCount,
  checkRequest,
  type DataInfo,
  describe,
  unpack,
} from './batches.js';
import type { AnyDataConfig, Split } from './data.js';
import { openData, parseData } from './registry.js';

export type { Batch, DataInfo } from './batches.js';

export interface Loader {
  readonly info: DataInfo;
  /**
   * Batch `number` of a split, from 0: a pure function of the configuration, the seed and the number. In 'train' the
   * rows of each epoch come in an order of its own, and a batch in which an epoch ends goes on with the next one; 'val'
   * and 'test' are read in sequence, and the last batch may have fewer rows. The batches that follow are made meanwhile.
   * @throws ArgumentError for a batch that the split does not have; DisposedError after close(); what reading threw
   */
  batch(split: Split, number: number): Promise<Batch>;
  /** Batches of a split: of an epoch in 'train'. Infinity where rows are made as they are asked for. */
  batches(split: Split): number;
  /** Ends the thread. A loader that is not closed keeps no process alive. */
  close(): Promise<void>;
}

export interface LoaderOptions {
  seed: number;
  /** Batches made ahead; 0 makes each when it is asked for, in the calling thread. Default 4. */
  ahead?: number;
}

/** @throws ArgumentError for options that cannot be; ConfigError, DataError: of the set that does not open */
export async function openLoader(config: AnyDataConfig, { seed, ahead = 4 }: LoaderOptions): Promise<Loader> {
  if (!Number.isInteger(ahead) || ahead < 0)
    throw new ArgumentError(`ahead is ${ahead}`, {
      op: 'openLoader',
      hint: 'give a number of batches, from 0',
    });
  if (!Number.isSafeInteger(seed) || seed < 0)
    throw new ArgumentError(`seed is ${seed}`, {
      op: 'openLoader',
      hint: 'it is an integer from 0 to 2^53 - 1',
    });
  const checked = parseData(config);
  if (ahead > 0) return AheadLoader.open(checked, seed, ahead);
  const set = await openData(checked, { seed });
  return new InThread(describe(set, checked.name), checked, new BatchMaker(set, checked, seed));
}

class InThread implements Loader {
  private closed = false;

  constructor(
    readonly info: DataInfo,
    private readonly config: AnyDataConfig,
    private readonly maker: BatchMaker,
  ) {}

  async batch(split: Split, number: number): Promise<Batch> {
    if (this.closed)
      throw new DisposedError('the loader is closed', {
        op: 'batch',
        hint: 'open another with openLoader()',
      });
    checkRequest(this, split, number);
    return unpack(this.maker.make(split, number), this.config.length);
  }

  batches(split: Split): number {
    return batchCount(this.info.rows[split], this.config.batch);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
