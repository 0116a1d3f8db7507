/**
 * The bare training loop of `bench:train`: nothing but forward, backward, the update and the loss, which is read while
 * the next step is being recorded. The text, the model and the hyper-parameters are those of torch_train.py.
 */
import { AdamW, autocast, GPT, manualSeed, scope, sync, type Tensor, tensor } from '../../src/index.js';
import { type TrainSize, VOCABULARY } from './train-sizes.js';

export interface Sampled {
  /** Microseconds. */
  us: number[];
  parts: Record<string, number[]>;
}

export class Training {
  #model: GPT;
  #optimizer: AdamW;
  #random = 1;
  /** What is learned, a byte each. */
  readonly text: Int32Array;

  constructor(
    readonly half: boolean,
    readonly size: TrainSize,
  ) {
    const { layers, width: dim, heads, length } = size;
    manualSeed(0);
    this.#model = new GPT({ vocab: VOCABULARY, layers, dim, heads, length, tied: false });
    this.#optimizer = new AdamW(this.#model.parameters(), { lr: 3e-4, weightDecay: 0.1, maxNorm: 1 });
    // Something to learn: it repeats.
    const words = Int32Array.from({ length: 4096 }, () => this.#draw(64));
    this.text = Int32Array.from({ length: 4 * words.length }, (_, i) => words[i % words.length]!);
  }

  /** The first step is not timed: nothing is being recorded while it runs. */
  async train(steps: number): Promise<Sampled> {
    const [us, losses]: [number[], number[]] = [[], []];
    let before = this.#step();
    let mark = performance.now();
    for (let i = 0; i <= steps; i++) {
      const next = i < steps ? this.#step() : undefined;
      losses.push(await before);
      if (i > 0) us.push((performance.now() - mark) * 1e3);
      mark = performance.now();
      if (next) before = next;
    }
    return { us, parts: { loss: losses } };
  }

  /** As many steps, and nothing timed. */
  async steps(count: number): Promise<void> {
    let before = this.#step();
    for (let i = 1; i < count; i++) {
      const next = this.#step();
      await before;
      before = next;
    }
    await before;
  }

  async split(steps: number): Promise<Sampled> {
    const us: number[] = [];
    const parts: Record<string, number[]> = { forward: [], backward: [], optimiser: [], loss: [] };
    await sync();
    for (let i = 0; i < steps; i++) {
      const marks = [performance.now()];
      const done = async () => {
        await sync();
        marks.push(performance.now());
      };
      await scope(async () => {
        const loss = this.#forward();
        await done();
        loss.backward();
        await done();
        this.#optimizer.step();
        this.#optimizer.zeroGrad();
        await done();
        parts.loss!.push(await loss.item());
      });
      for (const [k, part] of ['forward', 'backward', 'optimiser'].entries())
        parts[part]!.push((marks[k + 1]! - marks[k]!) * 1e3);
      us.push((marks[3]! - marks[0]!) * 1e3);
    }
    return { us, parts };
  }

  /** Records a step; its loss comes when it is done. */
  #step(): Promise<number> {
    const loss = scope(() => {
      const loss = this.#forward();
      loss.backward();
      this.#optimizer.step();
      this.#optimizer.zeroGrad();
      return loss;
    });
    const value = loss.item();
    loss.dispose();
    return value;
  }

  #forward(): Tensor {
    const { batch, length } = this.size;
    const starts = Array.from({ length: batch }, () => this.#draw(this.text.length - length - 1));
    const rows = (shift: number) => {
      const ids = new Int32Array(batch * length);
      starts.forEach((at, i) => {
        ids.set(this.text.subarray(at + shift, at + shift + length), i * length);
      });
      return tensor(ids, [batch, length]);
    };
    const [ids, labels] = [rows(0), rows(1)];
    return this.half
      ? autocast('bfloat16', () => this.#model.loss(ids, labels))
      : this.#model.loss(ids, labels);
  }

  #draw(below: number): number {
    this.#random = (this.#random * 48271) % 0x7fffffff;
    return this.#random % below;
  }

  dispose(): void {
    this.#optimizer.dispose();
    this.#model.dispose();
  }
}
