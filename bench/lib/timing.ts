/**
 * Interleaved timing. Contenders take turns, A B A B, so that a slower minute of the machine hits all of them alike.
 *
 * Between two turns there is a pause: the OpenMP threads of a contender that has just finished spin for about a
 * millisecond before they sleep, and on a machine with as many threads as cores they would slow the next one down.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Summary, summary } from './stats.js';

export interface Effort {
  /** Samples wanted of each contender. */
  runs: number;
  /** Seconds that one contender may take; past them it stops early, with `least` samples at least. */
  cap: number;
  least: number;
}

export const thorough: Effort = { runs: 30, cap: 3, least: 3 };
export const quick: Effort = { runs: 7, cap: 0.15, least: 3 };

const TURNS = 5;
export const PAUSE_MS = 5;

/** Takes one sample, or several from a peer that is asked for a number of them; in seconds. */
export interface Contender {
  sample(runs: number): Promise<number[]>;
  /** Called at the beginning of a turn: sets a route, warms caches. */
  begin?(): Promise<void>;
}

export async function interleave<K extends string>(
  contenders: Readonly<Record<K, Contender>>,
  effort: Effort,
): Promise<Record<K, Summary>> {
  const names = Object.keys(contenders) as K[];
  const samples = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, number[]>;
  const spent = Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
  const perTurn = Math.ceil(effort.runs / TURNS);
  for (let turn = 0; turn < TURNS; turn++)
    for (const name of names) {
      const wanted = Math.min(perTurn, effort.runs - samples[name].length);
      if (wanted <= 0 || (spent[name] > effort.cap && samples[name].length >= effort.least)) continue;
      await sleep(PAUSE_MS);
      await contenders[name].begin?.();
      for (let i = 0; i < wanted; ) {
        const start = performance.now();
        const got = await contenders[name].sample(wanted - i);
        spent[name] += (performance.now() - start) / 1e3;
        samples[name].push(...got);
        i += got.length;
        if (spent[name] > (effort.cap * (turn + 1)) / TURNS) break;
      }
    }
  return Object.fromEntries(names.map((name) => [name, summary(samples[name])])) as Record<K, Summary>;
}

/**
 * Ops to record between two syncs, when one takes `seconds`. A batch lasts 5 ms, and 20 ms where an op takes less than
 * 100 µs: handing blocks to the executor's thread and hearing from it takes about 50 µs, and recording takes a core
 * from a team that has as many threads as there are cores. Neither may count.
 */
export function batchSize(seconds: number): number {
  const t = Math.max(seconds, 1e-7);
  return Math.ceil((t < 100e-6 ? 20e-3 : 5e-3) / t);
}
