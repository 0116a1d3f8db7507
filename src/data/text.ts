/** Any file of text: its bytes, 90 % to train on, 5 % to validate on and 5 % to test on, contiguous. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { DataError } from '../runtime/errors.js';
import { defineData, type Split } from './data.js';
import { fixedWindows, movingWindows, type Windows } from './order.js';

export const textData = defineData({
  name: 'text',
  doc: 'any file of text',
  source: 'a file of the user',
  options: { path: z.string().min(1).describe('the file') },
  samples: [{ path: 'README.md', length: 16, batch: 2 }],
  open({ path, length }, { seed }) {
    let bytes: Uint8Array;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      throw new DataError(`${path} cannot be read: ${error}`, { hint: 'give the path of a file of text' });
    }
    const cuts = [0, Math.floor(bytes.length * 0.9), Math.floor(bytes.length * 0.95), bytes.length];
    const parts: Record<Split, Uint8Array> = {
      train: bytes.subarray(cuts[0], cuts[1]),
      val: bytes.subarray(cuts[1], cuts[2]),
      test: bytes.subarray(cuts[2], cuts[3]),
    };
    const windows: Record<Split, Windows> = {
      train: movingWindows(parts.train.length, length, seed),
      val: fixedWindows(parts.val.length, length),
      test: fixedWindows(parts.test.length, length),
    };
    return {
      vocab: 256,
      tokenizer: null,
      bytesPerToken: { train: 1, val: 1, test: 1 },
      rows: (split) => windows[split].count,
      read(split, index, epoch, { ids, labels }) {
        const start = windows[split].start(index, epoch);
        ids.set(parts[split].subarray(start, start + length));
        labels.set(parts[split].subarray(start + 1, start + length + 1));
      },
      facts: () => ({ file: path, bytes: bytes.length }),
    };
  },
});
