/** metrics.csv and TensorBoard: what training and evaluations measured. */
import { join } from 'node:path';
import { EventWriter } from '../io/tensorboard.js';
import { CsvLog } from './csv-log.js';
import type { Hook, MetricsRow } from './hook.js';

/** Columns of metrics.csv, and the fields that they show. */
const columns = {
  step: 'step',
  split: 'split',
  loss: 'loss',
  perplexity: 'perplexity',
  bpb: 'bpb',
  tokens_per_sec: 'tokensPerSec',
  step_time_ms: 'stepTimeMs',
  peak_mb: 'peakMb',
  lr: 'lr',
  grad_norm: 'gradNorm',
} as const satisfies Record<string, keyof MetricsRow>;

export function metricsCsv(): Hook {
  let file: CsvLog | undefined;
  return {
    begin({ folder, step }) {
      file = new CsvLog(join(folder, 'metrics.csv'), Object.keys(columns), step);
    },
    async logged(row) {
      const cells = Object.entries(columns).map(([column, field]) => [column, row[field]]);
      await file!.append([Object.fromEntries(cells)]);
    },
  };
}

/** The same as event files: tags 'loss/train', 'lr' and their like. */
export function tensorBoard(): Hook {
  let events: EventWriter | undefined;
  return {
    begin({ folder, step }) {
      events = new EventWriter(folder, step > 0 ? { resumed: step } : {});
    },
    logged(row) {
      const { step, split, loss, perplexity, bpb, tokensPerSec, stepTimeMs, peakMb, lr, gradNorm } = row;
      const training = { lr, grad_norm: gradNorm, tokens_per_sec: tokensPerSec, step_time_ms: stepTimeMs };
      const values = {
        [`loss/${split}`]: loss,
        [`perplexity/${split}`]: perplexity,
        [`bpb/${split}`]: bpb,
        ...(split === 'train' ? { ...training, peak_mb: peakMb } : {}),
      };
      const told = Object.entries(values).filter((entry): entry is [string, number] => entry[1] !== null);
      events!.scalars(step, Object.fromEntries(told));
    },
    end() {
      events?.close();
    },
  };
}
