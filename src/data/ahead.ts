/** A loader whose batches are made ahead, by a thread of their own. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { DisposedError, InternalError, OutOfMemoryError } from '../runtime/errors.js';
import { packageRoot } from '../runtime/load.js';
import { type Batch, batchCount, checkRequest, type DataInfo, type Packed, unpack } from './batches.js';
import type { AnyDataConfig, Split } from './data.js';
import { type Opening, type Reply, unpackError, unpackInfo } from './wire.js';

/** A batch that was asked of the worker: made, or on its way, and who waits for it. */
interface Slot {
  packed?: Packed;
  error?: Error;
  waiting: { resolve: (batch: Batch) => void; reject: (error: Error) => void }[];
}

/**
 * The worker answers requests in their order. A call for batch n asks for n … n + ahead, of which all but the last are
 * already made or on their way when batches are read in sequence; what is asked for and no longer near is forgotten.
 *
 * The thread keeps the process alive while a call waits for it, and at no other time: an unclosed loader hangs nothing.
 */
export class AheadLoader {
  private readonly slots: Record<Split, Map<number, Slot>> = {
    train: new Map(),
    val: new Map(),
    test: new Map(),
  };
  private waiting = 0;
  /** Why no batch will come any more. */
  private over: Error | undefined;

  private constructor(
    private readonly worker: Worker,
    readonly info: DataInfo,
    private readonly config: AnyDataConfig,
    private readonly ahead: number,
  ) {
    worker.on('message', (reply: Reply) => this.take(reply));
    worker.on('error', (error: NodeJS.ErrnoException) => this.end(death(error)));
    worker.on('exit', (code) => this.end(death(new Error(`exit code ${code}`))));
    worker.unref();
  }

  /** @throws DataError and others of the family: what opening the set threw in the thread */
  static async open(config: AnyDataConfig, seed: number, ahead: number): Promise<AheadLoader> {
    const file = join(packageRoot(), 'dist/src/data/worker.js');
    if (!existsSync(file))
      throw new InternalError(`${file} is not there`, { hint: 'npm run build:ts; or set ahead to 0' });
    const opening: Opening = { config, seed };
    // Flags of the process, such as --input-type, are not for the thread.
    const worker = new Worker(file, { workerData: opening, execArgv: [], name: 'attn-vk data' });
    const reply = await new Promise<Reply>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', (error) => reject(death(error)));
      worker.once('exit', (code) => reject(death(new Error(`exit code ${code}`))));
    });
    for (const event of ['message', 'error', 'exit']) worker.removeAllListeners(event);
    if ('info' in reply) return new AheadLoader(worker, unpackInfo(reply.info), config, ahead);
    await worker.terminate();
    throw unpackError((reply as { openError: Parameters<typeof unpackError>[0] }).openError);
  }

  batches(split: Split): number {
    return batchCount(this.info.rows[split], this.config.batch);
  }

  async batch(split: Split, number: number): Promise<Batch> {
    if (this.over) throw this.over;
    const last = checkRequest(this, split, number);
    const slots = this.slots[split];
    if (!slots.has(number)) this.forget(slots, number);
    for (let n = number; n <= Math.min(number + this.ahead, last); n++) {
      if (slots.has(n)) continue;
      slots.set(n, { waiting: [] });
      this.worker.postMessage({ split, number: n });
    }
    const slot = slots.get(number)!;
    if (slot.packed || slot.error) {
      slots.delete(number);
      if (slot.error) throw slot.error;
      return unpack(slot.packed!, this.config.length);
    }
    if (this.waiting++ === 0) this.worker.ref();
    return new Promise((resolve, reject) => slot.waiting.push({ resolve, reject }));
  }

  async close(): Promise<void> {
    this.end(
      new DisposedError('the loader is closed', { op: 'batch', hint: 'open another with openLoader()' }),
    );
    await this.worker.terminate();
  }

  /** What nobody waits for, and lies outside of what is read from here on. */
  private forget(slots: Map<number, Slot>, number: number): void {
    for (const [n, { waiting }] of slots)
      if (waiting.length === 0 && (n < number || n > number + this.ahead)) slots.delete(n);
  }

  private take(reply: Reply): void {
    if (!('number' in reply)) return;
    const slots = this.slots[reply.split];
    const slot = slots.get(reply.number);
    if (!slot || slot.packed || slot.error) return;
    if ('error' in reply) slot.error = unpackError(reply.error);
    else slot.packed = reply;
    if (slot.waiting.length === 0) return;
    slots.delete(reply.number);
    this.waiting -= slot.waiting.length;
    if (this.waiting === 0) this.worker.unref();
    for (const { resolve, reject } of slot.waiting)
      slot.error ? reject(slot.error) : resolve(unpack(slot.packed!, this.config.length));
  }

  /** Nothing comes any more: whoever waits learns why. */
  private end(why: Error): void {
    if (this.over) return;
    this.over = why;
    this.waiting = 0;
    for (const slots of Object.values(this.slots)) {
      for (const { waiting } of slots.values()) for (const { reject } of waiting) reject(why);
      slots.clear();
    }
  }
}

/** The thread ended by itself: no room, or a bug. */
function death(cause: NodeJS.ErrnoException): Error {
  if (cause.code === 'ERR_WORKER_OUT_OF_MEMORY')
    return new OutOfMemoryError('the thread that makes batches ran out of memory', {
      op: 'batch',
      hint: 'take less of the data (its option `bytes`), or give Node more room with --max-old-space-size',
      cause,
    });
  return new InternalError(`the thread that makes batches ended: ${cause.message}`, {
    op: 'batch',
    hint: 'ahead: 0 makes batches in the calling thread, where the fault shows',
    cause,
  });
}
