/** Batches of a data set, made ahead of training in a thread of their own. */
import { ArgumentError, DisposedError } from '../runtime/errors.js';
import { type Batch, BatchMaker, batchCount, type DataInfo, describe, unpack } from './batches.js';
import type { AnyDataConfig, Split } from './data.js';
import { openData } from './registry.js';

export type { Batch, DataInfo } from './batches.js';

export interface Loader {
  readonly info: DataInfo;
  /**
   * Batch `number` of a split, from 0: a pure function of the configuration, the seed and the number. In 'train' the
   * rows of each epoch come in an order of its own, and a batch that an epoch ends in goes on with the next one; 'val'
   * and 'test' are read in sequence, and the last batch may have fewer rows. The batches that follow are made meanwhile.
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

/** @throws ConfigError, DataError: of the set that does not open */
export async function openLoader(config: AnyDataConfig, options: LoaderOptions): Promise<Loader> {
  const set = await openData(config, { seed: options.seed });
  const maker = new BatchMaker(set, config, options.seed);
  return new InThread(describe(set, config.name), config, maker);
}

class InThread implements Loader {
  private closed = false;

  constructor(
    readonly info: DataInfo,
    private readonly config: AnyDataConfig,
    private readonly maker: BatchMaker,
  ) {}

  async batch(split: Split, number: number): Promise<Batch> {
    checkCall(this, this.closed, split, number);
    return unpack(this.maker.make(split, number), this.config.length);
  }

  batches(split: Split): number {
    return batchCount(this.info.rows[split], this.config.batch);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}

/** @throws DisposedError after close(); ArgumentError for a batch that the split does not have */
function checkCall(loader: Loader, closed: boolean, split: Split, number: number): void {
  if (closed)
    throw new DisposedError('the loader is closed', { op: 'batch', hint: 'open another with openLoader()' });
  const count = loader.batches(split);
  const last = split === 'train' ? Number.MAX_SAFE_INTEGER : count - 1;
  if (!(Number.isInteger(number) && number >= 0 && number <= last && count > 0))
    throw new ArgumentError(`batch ${number} of '${split}' of '${loader.info.name}'`, {
      op: 'batch',
      hint: `'${split}' has ${count} batches, numbered from 0`,
    });
}
