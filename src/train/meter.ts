/** What rows of metrics are made of: losses, times and peaks since the row before. */
import type { Split } from '../data/data.js';
import type { DataInfo } from '../data/loader.js';
import type { MetricsRow } from './hook.js';

export class Meter {
  /** Of losses that are finite. */
  losses = { sum: 0, count: 0 };
  #steps = 0;
  #tokens = 0;
  /** Bytes. */
  #peak = 0;
  /** Milliseconds, and since when they count. */
  #spent = 0;
  #since: number | undefined;

  constructor(readonly data: DataInfo) {}

  /** Time counts from here on, until `pause`. */
  go(): void {
    this.#since ??= performance.now();
  }

  pause(): void {
    if (this.#since !== undefined) this.#spent += performance.now() - this.#since;
    this.#since = undefined;
  }

  add(loss: number, tokens: number): void {
    if (Number.isFinite(loss)) {
      this.losses.sum += loss;
      this.losses.count++;
    }
    this.#steps++;
    this.#tokens += tokens;
  }

  peaked({ host, device }: { host: number; device: number }): void {
    this.#peak = Math.max(this.#peak, host + device);
  }

  /** The row of the steps since the row before; the next one begins. */
  row(step: number, lr: number, gradNorm: number): MetricsRow {
    const running = this.#since !== undefined;
    this.pause();
    const { sum, count } = this.losses;
    const row = rowOf(this.data, {
      step,
      split: 'train',
      loss: count > 0 ? sum / count : Number.NaN,
      tokens: this.#tokens,
      steps: this.#steps,
      ms: this.#spent,
      peak: this.#peak,
      lr,
      gradNorm,
    });
    this.losses = { sum: 0, count: 0 };
    this.#steps = this.#tokens = this.#spent = this.#peak = 0;
    if (running) this.go();
    return row;
  }
}

export interface Measured {
  step: number;
  split: Split;
  loss: number;
  tokens: number;
  /** What the time is shared by. */
  steps: number;
  ms: number;
  /** Bytes. */
  peak: number;
  lr: number;
  gradNorm: number | null;
}

export function rowOf({ bytesPerToken }: DataInfo, measured: Measured): MetricsRow {
  const { step, split, loss, tokens, steps, ms, peak, lr, gradNorm } = measured;
  return {
    step,
    split,
    loss,
    perplexity: Math.exp(loss),
    bpb: bytesPerToken ? loss / Math.LN2 / bytesPerToken[split] : null,
    tokensPerSec: ms > 0 ? tokens / (ms / 1e3) : 0,
    stepTimeMs: steps > 0 ? ms / steps : 0,
    peakMb: peak / 1e6,
    lr,
    gradNorm,
  };
}
