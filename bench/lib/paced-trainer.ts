/** The trainer as a contender of `bench:trainer`. */
import { sync } from '../../src/index.js';
import type { Run } from '../../src/train/hook.js';
import { Trainer } from '../../src/train/index.js';
import { parseRunConfig } from '../../src/train/run-config.js';
import type { Contender } from './timing.js';
import type { TrainSize } from './train-sizes.js';

/** Steps of a sample: some rows of metrics, and one of entropies. */
export const STEPS = 50;

/** A trainer that takes as many steps as it is told to, and waits. */
export class Paced implements Contender {
  #left = 0;
  #go: (() => void) | undefined;
  #done: (() => void) | undefined;
  #run: Promise<unknown> | undefined;

  private constructor(private readonly trainer: Trainer) {}

  static async open(
    { layers, width: dim, heads, length, batch }: TrainSize,
    { path, folder, entropy }: { path: string; folder: string; entropy: number },
  ): Promise<Paced> {
    const config = parseRunConfig({
      name: 'bench',
      data: { name: 'text', path, length, batch },
      model: { layers, dim, heads, tied: false },
      train: {
        steps: 1_000_000_000,
        optimizer: { kind: 'adamw', lr: 3e-4, betas: [0.9, 0.999] },
        schedule: { kind: 'constant' },
        log: { every: 10, entropy },
      },
    });
    let paced: Paced;
    const hook = { begin: () => paced.#wait(), step: (_: Run) => paced.#taken() };
    paced = new Paced(await Trainer.open(config, { folder, hooks: [hook] }));
    return paced;
  }

  async sample(): Promise<number[]> {
    this.#run ??= this.trainer.run();
    await new Promise(setImmediate);
    await sync();
    const began = performance.now();
    await new Promise<void>((resolve, reject) => {
      this.#left = STEPS;
      this.#done = resolve;
      this.#run!.catch(reject);
      this.#go?.();
    });
    return [(performance.now() - began) / 1e3 / STEPS];
  }

  /** Until the next sample. */
  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#go = resolve;
      if (this.#left > 0) resolve();
    });
  }

  async #taken(): Promise<void> {
    if (--this.#left > 0) return;
    await sync();
    this.#done!();
    await this.#wait();
  }

  async end(): Promise<void> {
    this.trainer.stop('measured');
    this.#left = 2;
    this.#go?.();
    await this.#run;
    await this.trainer.close();
  }
}
