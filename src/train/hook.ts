/** What may be done beside training: logs, progress, studies. */
import type { DataInfo, Loader } from '../data/loader.js';
import type { GPT } from '../model/gpt.js';
import type { Optimizer } from '../optim/optimizer.js';
import type { RunConfig } from './config.js';

/** A run as hooks see it. */
export interface Run {
  readonly config: RunConfig;
  /** Where everything is written. */
  readonly folder: string;
  readonly data: DataInfo;
  readonly model: GPT;
  readonly optimizer: Optimizer;
  /** Batches of every split: a hook may read the validation split's. */
  readonly loader: Loader;
  /** Updates taken. */
  readonly step: number;
  /** Ends training after this step, as an early stop does; the reason is told. */
  stop(reason: string): void;
}

/** A row of metrics.csv. */
export interface MetricsRow {
  step: number;
  split: 'train' | 'val' | 'test';
  /** Mean over the steps since the last row, or over the evaluation: nats a token. */
  loss: number;
  /** exp(loss) */
  perplexity: number;
  /** Bits per byte of text; null where there is no text. */
  bpb: number | null;
  tokensPerSec: number;
  stepTimeMs: number;
  /** Most bytes alive at once since the last row, both sides, in units of 10^6. */
  peakMb: number;
  lr: number;
  /** Before clipping, at the last of the steps. */
  gradNorm: number | null;
}

export interface Outcome {
  reason: 'steps' | 'early stop' | 'interrupted' | 'failed';
  /** What a person is told. */
  detail: string;
  step: number;
  /** The last evaluation, and the best one. */
  val: MetricsRow | null;
  best: { step: number; loss: number } | null;
  /** Of the test split, where it was asked for. */
  test: MetricsRow | null;
  /** Steps whose loss or gradient was not finite: they changed nothing. */
  skipped: number;
}

/** Methods are awaited, in the order of the hooks; one that throws ends the run with its error. */
export interface Hook {
  /** Before the first step: `run.step` is 0, or that of the checkpoint from which training goes on. */
  begin?(run: Run): void | Promise<void>;
  /** After each update, before anything of it is read back: it must not wait for the device. */
  step?(run: Run): void | Promise<void>;
  logged?(row: MetricsRow, run: Run): void | Promise<void>;
  /** Before a checkpoint: rows up to this step must be in their files. */
  saving?(run: Run): void | Promise<void>;
  saved?(folder: string, run: Run): void | Promise<void>;
  end?(outcome: Outcome, run: Run): void | Promise<void>;
}
