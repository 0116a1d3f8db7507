/**
 * Schedules: the learning rate over the steps, as a factor of each group's `lr`, for `optimizer.lrFactor`.
 * A schedule is a pure function of the step, which counts from 0.
 */
import { ArgumentError } from '../runtime/errors.js';

export type Schedule = (step: number) => number;

export interface ScheduleOptions {
  /** Steps over which the factor rises from 0 (not included) to 1. Default 0. */
  warmup?: number;
  /** Steps of the whole run; after them the factor stays what it is then. */
  total: number;
  /** The factor at the end. Default 0. */
  floor?: number;
}

/** 1 throughout, after a warm-up. */
export function constant({ warmup = 0 }: { warmup?: number } = {}): Schedule {
  checkSteps('constant', { warmup });
  return (step) => risen(step, warmup);
}

/** Warm-up, then a straight line to `floor`. */
export function linear(options: ScheduleOptions): Schedule {
  return decay('linear', options, (t) => 1 - t);
}

/** Warm-up, then half a cosine to `floor` (Loshchilov & Hutter, "SGDR", ICLR 2017). */
export function cosine(options: ScheduleOptions): Schedule {
  return decay('cosine', options, (t) => (1 + Math.cos(Math.PI * t)) / 2);
}

/**
 * Warm-up, stable, decay (Hu et al., "MiniCPM", 2024): 1 until `decay` steps before the end, then down to `floor`,
 * by a straight line or as 1 - √t (Hägele et al., "Scaling laws and compute-optimal training beyond fixed training
 * durations", NeurIPS 2024).
 */
export function wsd(options: ScheduleOptions & { decay: number; shape?: 'linear' | 'sqrt' }): Schedule {
  const { warmup = 0, total, decay: falling, floor = 0, shape = 'linear' } = options;
  checkSteps('wsd', { warmup, total, decay: falling });
  checkFloor('wsd', floor);
  if (shape !== 'linear' && shape !== 'sqrt')
    throw new ArgumentError(`unknown shape '${String(shape)}'`, { op: 'wsd', hint: "'linear' or 'sqrt'" });
  if (warmup + falling > total)
    throw new ArgumentError(`warm-up ${warmup} and decay ${falling} are more than ${total} steps`, {
      op: 'wsd',
      hint: 'make total larger, or either smaller',
    });
  return (step) => {
    const t = Math.min(1, Math.max(0, (step - (total - falling)) / Math.max(1, falling)));
    const left = shape === 'sqrt' ? 1 - Math.sqrt(t) : 1 - t;
    return risen(step, warmup) * (floor + (1 - floor) * left);
  };
}

/** `left` says what is left of the rate at a fraction of the way from the warm-up to the end. */
function decay(
  op: string,
  { warmup = 0, total, floor = 0 }: ScheduleOptions,
  left: (t: number) => number,
): Schedule {
  checkSteps(op, { warmup, total });
  checkFloor(op, floor);
  return (step) => {
    const t = Math.min(1, Math.max(0, (step - warmup) / Math.max(1, total - warmup)));
    return risen(step, warmup) * (floor + (1 - floor) * left(t));
  };
}

/** The first step is already one of the warm-up's, not one at rate 0. */
const risen = (step: number, warmup: number): number => Math.min(1, (step + 1) / Math.max(1, warmup));

function checkSteps(op: string, steps: Record<string, number>): void {
  for (const [name, n] of Object.entries(steps))
    if (!Number.isInteger(n) || n < 0)
      throw new ArgumentError(`${name} is ${String(n)}`, { op, hint: 'it is a number of steps' });
}

function checkFloor(op: string, floor: number): void {
  if (!(floor >= 0 && floor <= 1))
    throw new ArgumentError(`floor is ${String(floor)}`, { op, hint: 'it is a factor from 0 to 1' });
}
