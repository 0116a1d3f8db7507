/**
 * Event files, as TensorBoard reads them: records of TFRecord, each a protobuf `Event`
 * (tensorflow/core/util/event.proto, framework/summary.proto).
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import crc32c from 'crc-32/crc32c.js';
import { ArgumentError } from '../runtime/errors.js';
import { storageError } from '../runtime/files.js';

let files = 0;

/**
 * Scalars of a run, in a file of their own in `folder`; TensorBoard joins the files of a folder. A run that goes on
 * from step n says so, and what an earlier file holds of later steps is shown no more.
 */
export class EventWriter {
  readonly path: string;
  #fd: number | undefined;

  /**
   * @param options.resumed the step after which the run goes on
   * @throws StorageError where the file cannot be written; as `scalars`
   */
  constructor(folder: string, { resumed }: { resumed?: number } = {}) {
    const seconds = String(Math.floor(Date.now() / 1000)).padStart(10, '0');
    this.path = join(folder, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${files++}`);
    this.#guarded(() => {
      mkdirSync(folder, { recursive: true });
      this.#fd = openSync(this.path, 'ax');
    });
    this.#event(text(3, 'brain.Event:2'));
    // SessionLog { status: START }: events from this step on are void.
    if (resumed !== undefined) this.#event(integer(2, resumed + 1), message(7, integer(1, 1)));
  }

  /** Values by tag, 'loss/train' for one, after `step` updates. They are in the file when this returns. */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new ArgumentError(`step is ${String(step)}`, { op: 'EventWriter', hint: 'a number of updates' });
    const summary = Object.entries(values).map(([tag, value]) => message(1, text(1, tag), float(2, value)));
    this.#event(integer(2, step), message(5, ...summary));
  }

  /** Safe to call twice. */
  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #event(...fields: Buffer[]): void {
    if (this.#fd === undefined)
      throw new ArgumentError('the writer was closed', { op: 'EventWriter', hint: 'open another' });
    const record = framed(Buffer.concat([double(1, Date.now() / 1000), ...fields]));
    this.#guarded(() => {
      for (let at = 0; at < record.length; ) at += writeSync(this.#fd!, record, at);
    });
  }

  #guarded(fn: () => void): void {
    try {
      fn();
    } catch (error) {
      throw storageError(this.path, error);
    }
  }
}

/** TFRecord: length, CRC of the length, data, CRC of the data. */
function framed(data: Buffer): Buffer {
  const record = Buffer.alloc(data.length + 16);
  record.writeBigUInt64LE(BigInt(data.length));
  record.writeUInt32LE(masked(record.subarray(0, 8)), 8);
  data.copy(record, 12);
  record.writeUInt32LE(masked(data), data.length + 12);
  return record;
}

/** CRC32C, turned and moved so that a CRC of data that holds CRCs stays a good one. */
function masked(data: Buffer): number {
  const crc = crc32c.buf(data) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

// Protobuf: a key (number · 8 + kind of what follows), then the value.
const key = (field: number, kind: 0 | 1 | 2 | 5) => Buffer.of(field * 8 + kind);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) + 128);
  return Buffer.of(...bytes, value);
}

const integer = (field: number, value: number) => Buffer.concat([key(field, 0), varint(value)]);

function double(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(9, key(field, 1));
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function float(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5, key(field, 5));
  bytes.writeFloatLE(value, 1);
  return bytes;
}

function message(field: number, ...fields: Buffer[]): Buffer {
  const inner = Buffer.concat(fields);
  return Buffer.concat([key(field, 2), varint(inner.length), inner]);
}

const text = (field: number, value: string) => message(field, Buffer.from(value));
