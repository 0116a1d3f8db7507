/** One side of a case of `bench:train`: the steps that its process took, and what it told of them. */
import type { Peer } from './peers.js';
import { type Summary, summary } from './stats.js';
import type { Contender } from './timing.js';

export type Dtype = 'float32' | 'bfloat16';
export const parts = ['forward', 'backward', 'optimiser'] as const;

const BATCH_SECONDS = 0.3;

/** A side of one case: what its process told. */
export interface Side {
  name: string;
  step: Summary;
  parts: Record<(typeof parts)[number], Summary>;
  /** Bytes. */
  peak: number;
  loss: number;
}

/** Steps of one side, and what it tells of them. */
export class Runner implements Contender {
  /** Seconds of a step, a mean for each batch of them. */
  #batches: number[] = [];
  /** Steps to a batch. */
  #count = 2;
  #parts: Record<string, number[]> = {};
  #peak = 0;

  constructor(
    readonly name: string,
    readonly peer: Peer,
    readonly work: string,
    readonly dtype: Dtype,
    readonly size: string,
  ) {}

  /** Builds the model and compiles; the reason if that fails. */
  async warm(): Promise<string> {
    try {
      await this.peer.run(this.work, this.dtype, this.size, 1);
      const { samples } = await this.peer.run(this.work, this.dtype, this.size, 3);
      this.#count = Math.min(50, Math.max(2, Math.ceil(BATCH_SECONDS / Math.min(...samples))));
      return '';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** One batch: of steps that overlap, only the mean says what one takes. */
  async sample(): Promise<number[]> {
    const { samples, peak } = await this.#ask(this.work, this.#count);
    const mean = samples.reduce((sum, s) => sum + s, 0) / samples.length;
    this.#batches.push(mean);
    this.#peak = peak; // before any step that is split, which holds more
    return [mean];
  }

  /** Steps that wait after each part are slower where parts overlap: they are asked for apart from those timed. */
  async done(): Promise<Side> {
    if (this.peer.cases.split) {
      const { loss } = this.#parts;
      this.#parts = {};
      await this.#ask('split', Math.min(8, this.#count));
      this.#parts.loss = loss!;
    }
    const of = (part: string) => summary((this.#parts[part] ?? []).map((us) => us / 1e6));
    return {
      name: this.name,
      step: summary(this.#batches),
      parts: { forward: of('forward'), backward: of('backward'), optimiser: of('optimiser') },
      peak: this.#peak,
      loss: this.#parts.loss!.at(-1)!,
    };
  }

  async #ask(work: string, runs: number) {
    const answer = await this.peer.run(work, this.dtype, this.size, runs);
    for (const [part, values] of Object.entries(answer.parts)) (this.#parts[part] ??= []).push(...values);
    return answer;
  }
}
