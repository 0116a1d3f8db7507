/** Figures of a device that no row of the table gives: the same on every run, whatever sizes and ops it walks. */
import { opNamed } from '../../src/ops/registry.js';
import type { Figure } from '../../src/report/json.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { makeCase } from './cases.js';
import { type Contender, type Effort, interleave } from './timing.js';
import { Work } from './work.js';

/** What a dispatch costs apart from its work: a 16x16 add, recorded, run and freed a thousand times. */
export async function perOp(runtime: Runtime, effort: Effort): Promise<Figure> {
  const work = new Work(runtime, makeCase(opNamed('add'), 16));
  const seconds = await timed(
    work,
    {
      begin: async () => void (runtime.route = 'gpu'),
      sample: async () => [await work.batch(1000)],
    },
    effort,
  );
  return { name: 'dispatch', metric: 'time', value: seconds * 1e6, unit: 'µs' };
}

/** Sums of 4096 rows of 1024, as `bench:cpu` compares them. */
export async function rowSum(runtime: Runtime, effort: Effort): Promise<Figure> {
  const work = new Work(runtime, makeCase(opNamed('sum'), 4096, 'float32', [4096, 1024]));
  const seconds = await timed(work, await work.batches('gpu'), effort);
  return { name: work.c.name, metric: 'vulkan resident', value: seconds * 1e3, unit: 'ms' };
}

async function timed(work: Work, contender: Contender, effort: Effort): Promise<number> {
  try {
    return (await interleave({ only: contender }, effort)).only.median;
  } finally {
    work.dispose();
  }
}
