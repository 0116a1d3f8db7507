/** The copy task: sequences whose second half repeats the first, and a small GPT of any attention kind that learns it. */
import { attentionKind } from '../../src/attention/registry.js';
import { noGrad } from '../../src/index.js';
import { GPT } from '../../src/model/index.js';
import { argmax } from '../../src/ops/index.js';
import { philox } from '../../src/ops/philox.js';
import { AdamW, schedule } from '../../src/optim/index.js';
import { Runtime, useRuntime } from '../../src/runtime/runtime.js';
import { manualSeed } from '../../src/tensor/generator.js';
import { scope } from '../../src/tensor/scope.js';
import { tensor } from '../../src/tensor/tensor.js';

export const VOCAB = 64;
/** Tokens of a sequence: half of them new. */
export const LENGTH = 64;
const HALF = LENGTH / 2;
const BATCH = 32;
/** Number of the batch that is never trained on. */
const HELD_OUT = 2 ** 31;

/** A point of a learning curve, on sequences never trained on. */
export interface CopyPoint {
  step: number;
  /** Mean cross-entropy of the tokens of the second half. */
  loss: number;
  /** How many of them are the likeliest. */
  accuracy: number;
}

/** Batch number `n` of a seed: ids [B, LENGTH], and labels that count in the second half alone. */
function batch(seed: number, n: number): { ids: Int32Array; labels: Int32Array } {
  const ids = new Int32Array(BATCH * LENGTH);
  const labels = new Int32Array(BATCH * LENGTH).fill(-100);
  for (let b = 0; b < BATCH; b++)
    for (let t = 0; t < LENGTH; t++) {
      const at = b * LENGTH + t;
      ids[at] = t < HALF ? philox([n, b, t, 0], [seed, 0x636f7079])[0]! % VOCAB : ids[at - HALF]!;
      if (t >= HALF) labels[at - 1] = ids[at]!;
    }
  return { ids, labels };
}

/** One training run. */
export class CopyRun {
  readonly #runtime = new Runtime({ device: 'none', route: 'cpu' });
  readonly #model: GPT;
  readonly #optimizer: AdamW;
  readonly #rate: (step: number) => number;
  #step = 0;

  constructor(
    kind: string,
    readonly seed: number,
    steps: number,
  ) {
    useRuntime(this.#runtime);
    manualSeed(seed);
    const { supports } = attentionKind(kind);
    this.#model = new GPT({
      vocab: VOCAB,
      layers: 2,
      dim: 128,
      heads: 4,
      length: LENGTH,
      norm: 'rms',
      bias: false,
      positions: supports.rope ? 'rope' : 'learned',
      attention: { kind, causal: supports.causal !== 'never' },
    });
    this.#optimizer = new AdamW(this.#model.parameters(), {
      lr: 2e-3,
      betas: [0.9, 0.98],
      weightDecay: 0.01,
      maxNorm: 1,
    });
    this.#rate = schedule.cosine({ warmup: Math.min(50, steps), total: steps, floor: 0.05 });
  }

  async train(steps: number): Promise<void> {
    useRuntime(this.#runtime);
    for (let i = 0; i < steps; i++) {
      this.#optimizer.lrFactor = this.#rate(this.#step);
      const { ids, labels } = batch(this.seed, this.#step++);
      scope(() => {
        const shape = [BATCH, LENGTH];
        this.#model.loss(tensor(ids, shape), tensor(labels, shape)).backward();
        this.#optimizer.step();
        this.#optimizer.zeroGrad();
      });
      await this.#runtime.sync();
    }
  }

  async point(): Promise<CopyPoint> {
    useRuntime(this.#runtime);
    const { ids, labels } = batch(this.seed, HELD_OUT);
    const shape = [BATCH, LENGTH];
    const { loss, guesses } = await scope(() =>
      noGrad(async () => {
        const x = tensor(ids, shape);
        const loss = this.#model.loss(x, tensor(labels, shape));
        const guesses = argmax(this.#model.forward(x), { axis: -1 });
        return { loss: await loss.item(), guesses: await guesses.data() };
      }),
    );
    let right = 0;
    labels.forEach((label, i) => {
      if (label >= 0 && guesses[i] === label) right++;
    });
    return { step: this.#step, loss, accuracy: right / (BATCH * HALF) };
  }

  [Symbol.dispose](): void {
    this.#optimizer.dispose();
    this.#model.dispose();
    useRuntime(undefined);
    this.#runtime.dispose();
  }
}
