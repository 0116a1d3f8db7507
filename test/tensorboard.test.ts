/** Event files: framing and fields as TFRecord and event.proto have them, read back by a decoder of their own. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import crc32c from 'crc-32/crc32c.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EventWriter } from '../src/io/index.js';
import { failureOf } from './support/errors.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'attn-vk-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const masked = (bytes: Uint8Array) => {
  const crc = BigInt(crc32c.buf(bytes) >>> 0);
  return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
};

/** Data of the records, their lengths and sums checked. */
function* records(file: Buffer): Generator<Buffer> {
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(masked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(masked(data));
    yield data;
    at += length + 16;
  }
}

/** Fields of a protobuf message: [number, value], messages and texts as bytes. */
function fields(message: Buffer): [number, number | bigint | Buffer][] {
  const found: [number, number | bigint | Buffer][] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = Number(varint());
    const kind = key & 7;
    let value: number | bigint | Buffer;
    if (kind === 0) value = varint();
    else if (kind === 1) value = message.readDoubleLE((at += 8) - 8);
    else if (kind === 5) value = message.readFloatLE((at += 4) - 4);
    else if (kind === 2) {
      const length = Number(varint());
      value = message.subarray(at, (at += length));
    } else throw new Error(`kind ${kind}`);
    found.push([key >> 3, value]);
  }
  return found;
}

interface Event {
  time: number;
  step: number;
  version?: string;
  session?: number;
  values: Record<string, number>;
}

function events(path: string): Event[] {
  return [...records(readFileSync(path))].map((record) => {
    const event: Event = { time: 0, step: 0, values: {} };
    for (const [number, value] of fields(record))
      if (number === 1) event.time = value as number;
      else if (number === 2) event.step = Number(value);
      else if (number === 3) event.version = String(value);
      else if (number === 7) event.session = Number(new Map(fields(value as Buffer)).get(1));
      else if (number === 5)
        for (const [, inner] of fields(value as Buffer)) {
          const of = new Map(fields(inner as Buffer));
          event.values[String(of.get(1))] = of.get(2) as number;
        }
      else throw new Error(`field ${number}`);
    return event;
  });
}

it('sums as the Castagnoli polynomial does', () => {
  expect(crc32c.buf(Buffer.from('123456789')) >>> 0).toBe(0xe3069283);
});

describe('an event file', () => {
  it('begins with its version and holds what was written', () => {
    const before = Date.now() / 1000;
    const writer = new EventWriter(join(folder, 'run'));
    writer.scalars(0, { 'loss/train': 2.5, lr: 1e-3 });
    writer.scalars(127, { 'loss/train': Number.NaN });
    writer.scalars(128, { 'Verlust/größer': Number.NEGATIVE_INFINITY });
    writer.scalars(2 ** 40 + 5, {});
    writer.close();
    writer.close();
    expect(readdirSync(join(folder, 'run'))).toHaveLength(1);
    expect(writer.path).toMatch(/run\/events\.out\.tfevents\.\d{10}\./);
    const [first, ...rest] = events(writer.path);
    expect(first).toMatchObject({ version: 'brain.Event:2', step: 0 });
    expect(rest.map(({ step, values }) => [step, values])).toEqual([
      [0, { 'loss/train': 2.5, lr: Math.fround(1e-3) }],
      [127, { 'loss/train': Number.NaN }],
      [128, { 'Verlust/größer': Number.NEGATIVE_INFINITY }],
      [2 ** 40 + 5, {}],
    ]);
    for (const { time } of rest) expect(time - before).toBeLessThan(60);
    for (const { time } of rest) expect(time).toBeGreaterThanOrEqual(before);
  });

  it('is whole after every call: nothing waits to be written', () => {
    using writer = new EventWriter(folder);
    for (let step = 1; step < 5; step++) {
      writer.scalars(step, { loss: step });
      expect(events(writer.path)).toHaveLength(step + 1);
    }
  });

  it('of a run that goes on is another one, which voids later steps of those before', () => {
    const first = new EventWriter(folder);
    for (const step of [100, 200, 300]) first.scalars(step, { loss: step });
    first.close();
    const before = readFileSync(first.path);
    const second = new EventWriter(folder, { resumed: 200 });
    second.scalars(300, { loss: -1 });
    second.close();
    expect(readFileSync(first.path)).toEqual(before);
    expect(readdirSync(folder)).toHaveLength(2);
    expect(events(second.path).map(({ step, version, session }) => ({ step, version, session }))).toEqual([
      { step: 0, version: 'brain.Event:2', session: undefined },
      { step: 201, version: undefined, session: 1 },
      { step: 300, version: undefined, session: undefined },
    ]);
  });

  it('that cannot be written says so', async () => {
    writeFileSync(join(folder, 'file'), '');
    expect(await failureOf(() => new EventWriter(join(folder, 'file')))).toMatchObject({
      code: 'ATTN_STORAGE',
    });
    const writer = new EventWriter(folder);
    for (const step of [-1, 0.5, Number.NaN])
      expect(await failureOf(() => writer.scalars(step, {}))).toMatchObject({ code: 'ATTN_ARGUMENT' });
    writer.close();
    expect(await failureOf(() => writer.scalars(1, {}))).toMatchObject({ code: 'ATTN_ARGUMENT' });
  });
});
