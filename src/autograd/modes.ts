/** What calls do besides computing: whether they are recorded, in which dtype products run, what is watched. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { ArgumentError } from '../runtime/errors.js';
import type { DType } from '../tensor/dtype.js';
import { describe } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';

export type Half = 'bfloat16' | 'float16';

export interface Modes {
  grad: boolean;
  autocast: Half | undefined;
  /** Parameters in the autocast dtype, made once for each region, and the version of what each was made of. */
  casts: Map<Tensor, { made: Tensor; of: number }> | undefined;
  /** Where NaN and infinity are looked for: the text that names the place, for example a step. */
  anomaly: { where: string } | undefined;
}

const standard: Modes = { grad: true, autocast: undefined, casts: undefined, anomaly: undefined };
const local = new AsyncLocalStorage<Modes>();
let used = false; // until the first change there is nothing to look up
let paused = 0;

export const modes = (): Modes => (used && local.getStore()) || standard;

/** Calls are recorded here and now. */
export const recording = (): boolean => paused === 0 && modes().grad;

/** A gradient is being computed: its formulas say themselves in which dtype they run. */
export const differentiating = (): boolean => paused > 0;

/** Runs `fn` with some modes changed; it may be async. */
export function within<T>(changes: Partial<Modes>, op: string, fn: () => T): T {
  if (typeof fn !== 'function')
    throw new ArgumentError(`expected a function but got ${describe(fn)}`, {
      op,
      hint: 'give what is to run: () => …, or async () => …',
    });
  used = true;
  return local.run({ ...modes(), ...changes }, fn);
}

/** Runs `fn`, which is not async, without recording: cheaper than `noGrad`. */
export function pausing<T>(fn: () => T): T {
  paused++;
  try {
    return fn();
  } finally {
    paused--;
  }
}

/** Undoes `pausing` for what runs inside it: a checkpoint records while a gradient is computed. */
export function resuming<T>(fn: () => T): T {
  const before = paused;
  paused = 0;
  try {
    return fn();
  } finally {
    paused = before;
  }
}

/** Nothing inside `fn` (which may be async) is recorded for gradients. */
export const noGrad = <T>(fn: () => T): T => within({ grad: false }, 'noGrad', fn);

/** Inside `noGrad`, records again. */
export const enableGrad = <T>(fn: () => T): T => within({ grad: true }, 'enableGrad', fn);

/** The dtype in which products run here, or undefined: what layers ask that may choose their output's dtype. */
export const autocastDType = (): DType | undefined => modes().autocast;
