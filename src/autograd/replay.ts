/** Calls that are not recorded when they run, but run again, as they did, when their gradient is asked for. */
import { type Draws, drawing, rewound } from '../tensor/generator.js';
import type { Tensor } from '../tensor/tensor.js';
import { backwardFrom } from './backward.js';
import { leafOf, setRequiresGrad } from './leaf.js';
import { type Modes, modes, noGrad, resuming, within } from './modes.js';

/** How a call ran: in which modes, and what it drew. */
export interface Replay {
  readonly op: string;
  readonly modes: Modes;
  readonly random: Draws;
}

/** Runs `fn` without recording. */
export function unrecorded<T>(op: string, fn: () => T): [result: T, replay: Replay] {
  const [result, random] = drawing(() => noGrad(fn));
  return [result, { op, modes: modes(), random }];
}

/**
 * Runs `fn` as it ran, recording, and gives the gradient of each input that is `wanted` by those of the results.
 * Parameters that it closes over get their share. The inputs become leaves: tensors of their own.
 */
export function differentiateAgain(
  { op, modes: then, random }: Replay,
  fn: (...inputs: Tensor[]) => readonly Tensor[],
  inputs: readonly Tensor[],
  wanted: readonly boolean[],
  grads: readonly (Tensor | undefined)[],
): (Tensor | null)[] {
  inputs.forEach((input, i) => {
    if (wanted[i]) setRequiresGrad(input, true);
  });
  rewound(random, () =>
    resuming(() =>
      within({ ...then, grad: true, casts: then.autocast && new Map() }, op, () =>
        backwardFrom(fn(...inputs), grads),
      ),
    ),
  );
  return inputs.map((input) => leafOf(input)?.grad?.detach() ?? null);
}
