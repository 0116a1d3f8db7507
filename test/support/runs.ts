/** Small runs: a text that follows a rule, a configuration of whole seconds, and what of their files must repeat. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Batch, type Loader, openLoader } from '../../src/data/loader.js';
import type { RunConfig } from '../../src/train/config.js';
import { parseRunConfig } from '../../src/train/run-config.js';

/** 6000 bytes in which each follows from the one before it, now and then by chance. */
export function textFile(folder: string): string {
  const path = join(folder, 'text.txt');
  const bytes = new Uint8Array(6000);
  let state = 7;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const rule = ((bytes[i - 1] ?? 97) - 97 + 5) % 26;
    bytes[i] = 97 + (state % 16 === 0 ? (state >>> 8) % 26 : rule);
  }
  writeFileSync(path, bytes);
  return path;
}

type Deep<T> = { [K in keyof T]?: T[K] extends object ? Deep<T[K]> : T[K] };

/** Two layers of 32 channels on rows of 16 bytes. */
export function runConfig(path: string, changes: Deep<RunConfig> = {}): RunConfig {
  const { data, model, train, ...rest } = changes;
  return parseRunConfig({
    name: 'small',
    seed: 3,
    ...rest,
    data: { name: 'text', path, length: 16, batch: 4, ...data },
    model: { layers: 2, dim: 32, heads: 2, dropout: 0.1, ...model },
    train: { steps: 12, ...train, log: { every: 3, tensorboard: false, ...train?.log } },
  });
}

/** Batches made without a thread, which takes longer to start than such a run to end. */
export const inThread = ({ data, seed }: RunConfig): Promise<Loader> => openLoader(data, { seed, ahead: 0 });

/** A file of rows; in metrics.csv what differs between two equal runs, times and peaks, is left out. */
export function rowsOf(folder: string, file = 'metrics.csv'): Record<string, string>[] {
  const [header, ...lines] = readFileSync(join(folder, file), 'utf8').trimEnd().split('\n');
  const names = header!.split(',');
  const varying = ['tokens_per_sec', 'step_time_ms', 'peak_mb'];
  return lines.map((line) => {
    const cells = line.split(',');
    return Object.fromEntries(
      names.map((n, i) => [n, cells[i]!] as const).filter(([n]) => !varying.includes(n)),
    );
  });
}

/** The bytes of all tensors of a checkpoint. */
export const tensorsOf = (folder: string, checkpoint: string): Buffer[] =>
  ['model.safetensors', 'optimizer.safetensors'].map((name) =>
    readFileSync(join(folder, 'checkpoints', checkpoint, name)),
  );

export const checkpointsOf = (folder: string): string[] => readdirSync(join(folder, 'checkpoints')).sort();

/** Rows of numbers made on the spot; `label` may leave labels out. */
export function memoryLoader({
  batch,
  label = (_number: number, _row: number, _at: number, value: number) => value,
}: {
  batch: number;
  label?: (number: number, row: number, at: number, value: number) => number;
}): Loader {
  const [vocab, length] = [32, 16];
  const value = (row: number, at: number) => (7 * row + 3 * at + ((row * at) % 5)) % vocab;
  return {
    info: {
      name: 'memory',
      vocab,
      tokenizer: null,
      bytesPerToken: null,
      rows: { train: Number.POSITIVE_INFINITY, val: 8, test: 8 },
      facts: {},
    },
    async batch(_split, number): Promise<Batch> {
      const ids = new Int32Array(batch * length);
      const labels = new Int32Array(batch * length);
      for (let j = 0; j < batch; j++)
        for (let t = 0; t < length; t++) {
          const row = number * batch + j;
          ids[j * length + t] = value(row, t);
          labels[j * length + t] = label(number, row, t, value(row, t + 1));
        }
      return { ids, labels, batch, length };
    },
    batches: (split) => (split === 'train' ? Number.POSITIVE_INFINITY : 8 / batch),
    close: async () => undefined,
  };
}
