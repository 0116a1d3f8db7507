/** What a dispatch costs apart from its work: a tiny op, thousands of times between two syncs. */
import { opNamed } from '../../src/ops/registry.js';
import type { Route } from '../../src/runtime/native.js';
import type { Runtime } from '../../src/runtime/runtime.js';
import { makeCase } from './cases.js';
import type { Effort } from './timing.js';
import { interleave } from './timing.js';
import { Work } from './work.js';

/** Seconds of one 16x16 add, end to end: recorded, run, freed. */
export async function perOp(runtime: Runtime, route: Route, effort: Effort): Promise<number> {
  const work = new Work(runtime, makeCase(opNamed('add'), 16));
  try {
    const contender = {
      begin: async () => void (runtime.route = route),
      sample: async () => [await work.batch(1000)],
    };
    return (await interleave({ tiny: contender }, effort)).tiny.median;
  } finally {
    work.dispose();
  }
}
