/**
 * Our side of `bench:train`, a process of its own under the peers' protocol (peers.ts): `train float32 2x64x4x64x8 20`
 * times 20 steps as a training loop runs them, each loss read while the next step is being recorded; `split` times
 * steps that wait after each part. The text, the model and the hyper-parameters are those of torch_train.py.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import {
  AdamW,
  autocast,
  GPT,
  manualSeed,
  Runtime,
  scope,
  sync,
  type Tensor,
  tensor,
  useRuntime,
} from '../../src/index.js';
import { parseSize, type TrainSize, VOCABULARY } from './train-sizes.js';

const DTYPES = ['float32', 'bfloat16'];

interface Sampled {
  /** Microseconds. */
  us: number[];
  parts: Record<string, number[]>;
}

class Training {
  #model: GPT;
  #optimizer: AdamW;
  #random = 1;
  #text: Int32Array;

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
    this.#text = Int32Array.from({ length: 4 * words.length }, (_, i) => words[i % words.length]!);
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
    const starts = Array.from({ length: batch }, () => this.#draw(this.#text.length - length - 1));
    const rows = (shift: number) => {
      const ids = new Int32Array(batch * length);
      starts.forEach((at, i) => {
        ids.set(this.#text.subarray(at + shift, at + shift + length), i * length);
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
}

/** Bytes. Not getrusage(), which begins with what the process that started this one held. */
function peakResident(): number {
  const [, kilobytes] = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s+(\d+) kB$/m)!;
  return Number(kilobytes) * 1024;
}

const made = new Map<string, Training>();

async function answer(line: string): Promise<object> {
  if (line === 'list') return { cases: { train: DTYPES, split: DTYPES } };
  const [work, dtype, size, runs] = line.split(' ') as [string, string, string, string];
  try {
    if (!['train', 'split'].includes(work) || !DTYPES.includes(dtype) || !(Number(runs) > 0))
      throw new Error('expected: train or split, float32 or bfloat16, a size, runs');
    const key = `${dtype} ${size}`;
    let training = made.get(key);
    if (!training) {
      made.set(key, (training = new Training(dtype === 'bfloat16', parseSize(size))));
      await training.train(2); // allocates, prepares
    }
    const sampled = await (work === 'train' ? training.train(Number(runs)) : training.split(Number(runs)));
    return { ...sampled, peak: peakResident() };
  } catch (error) {
    return { error: error instanceof Error ? error.message.split('\n')[0] : String(error) };
  }
}

useRuntime(new Runtime({ device: 'none', route: 'cpu' }));
for await (const line of createInterface({ input: process.stdin }))
  if (line.trim()) console.log(JSON.stringify(await answer(line.trim())));
