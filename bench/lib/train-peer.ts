/**
 * Our side of `bench:train`, a process of its own under the peers' protocol (peers.ts): `train float32 2x64x4x64x8 20`
 * times 20 steps as a training loop runs them, each loss read while the next step is being recorded; `split` times
 * steps that wait after each part. What it trains is in train-loop.ts.
 */
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Runtime, useRuntime } from '../../src/index.js';
import { Training } from './train-loop.js';
import { parseSize } from './train-sizes.js';

const DTYPES = ['float32', 'bfloat16'];

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
