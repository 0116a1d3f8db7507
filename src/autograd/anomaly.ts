/** `detectAnomaly`: finds the op that first makes a NaN or an infinity, at the price of a read after each call. */
import { mul, sum } from '../ops/index.js';
import { observer } from '../ops/record.js';
import { GradError } from '../runtime/errors.js';
import { isFloat } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { modes, pausing, within } from './modes.js';

/**
 * Runs `fn` (which may be async) and throws a GradError that names the op whose output or gradient is first not
 * finite. For hunting a fault: every call is followed by a read.
 * @param options.step named in the message.
 */
export function detectAnomaly<T>(fn: () => T, options: { step?: number } = {}): T {
  observer.watchAll = true; // from now on calls are looked at; outside `fn` they are found to need nothing
  const where = options.step === undefined ? '' : ` at step ${options.step}`;
  return within({ anomaly: { where } }, 'detectAnomaly', fn);
}

let watching = false;

/** Throws where one of these is not finite: 0 x is NaN exactly then. */
export function watch(op: string, tensors: readonly (Tensor | undefined)[], what = 'output'): void {
  if (watching) return; // its own calls
  watching = true;
  try {
    tensors.forEach((t, i) => {
      if (!t || !isFloat(t.dtype)) return;
      const nothing = pausing(() => scope(() => sum(mul(t, 0)).itemSync()));
      if (nothing === 0) return;
      throw new GradError(
        `${what}${tensors.length > 1 ? ` ${i}` : ''} ${show(t.shape, t.dtype)} holds NaN or infinity${modes().anomaly?.where ?? ''}`,
        { op, hint: 'look at its inputs: all before it was finite' },
      );
    });
  } finally {
    watching = false;
  }
}
