/** Other work on this machine: with as many threads as cores, one busy stranger makes every parallel op wait for it. */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure } from '../../src/report/json.js';

const SAMPLE_MS = 300;

/** Cores that are busy while this process sleeps; says so where that spoils figures. */
export async function busyCores(): Promise<Figure> {
  const before = cpus();
  await sleep(SAMPLE_MS);
  const value = cpus().reduce((sum, { times }, i) => {
    const was = before[i]?.times ?? times;
    const idle = times.idle - was.idle;
    const all = Object.keys(times).reduce(
      (total, k) => total + times[k as keyof typeof times] - was[k as keyof typeof times],
      0,
    );
    return sum + (all > 0 ? 1 - idle / all : 0);
  }, 0);
  if (value > 0.2)
    console.log(
      `\nThis machine is busy: other programs keep ${value.toFixed(1)} of ${before.length} cores. ` +
        'Times below are not those of an idle machine, and ratios between them are uncertain.\n',
    );
  return { name: 'machine', metric: 'cores busy with other work', value, unit: '' };
}
