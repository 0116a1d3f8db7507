/**
 * The stream of randomness that layers draw from: a seed and a counter, which is all its state. A draw is an operand
 * (int32 [4]: seed and counter, low word first), so a step with a new draw needs no new prepared op.
 */
import { ArgumentError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { type Tensor, tensor } from './tensor.js';

export interface GeneratorState {
  seed: number;
  counter: number;
}

/** Generators, and the state of each before it was drawn from. */
export type Draws = ReadonlyMap<Generator, GeneratorState>;

let draws: Map<Generator, GeneratorState> | undefined;

export class Generator {
  #seed: number;
  #counter = 0;

  /** @param seed an integer from 0 to 2^53 - 1 */
  constructor(seed = 0) {
    this.#seed = check(seed);
  }

  /** The next draw's state; no two draws of a generator are alike. */
  next(runtime?: Runtime): Tensor {
    if (draws && !draws.has(this)) draws.set(this, this.state);
    const words = [this.#seed, this.#counter++].flatMap((x) => [x % 2 ** 32, Math.floor(x / 2 ** 32)]);
    return tensor(
      Int32Array.from(words, (w) => w | 0),
      undefined,
      { runtime },
    );
  }

  get state(): GeneratorState {
    return { seed: this.#seed, counter: this.#counter };
  }
  set state({ seed, counter }: GeneratorState) {
    this.#seed = check(seed);
    this.#counter = check(counter);
  }
}

function check(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new ArgumentError(`the seed or counter is ${String(value)}`, {
      op: 'Generator',
      hint: 'it is an integer from 0 to 2^53 - 1',
    });
  return value;
}

/** What layers draw from where they are given no generator of their own. */
export const generator = new Generator();

/** Seeds the default generator and begins it anew: equal seeds, equal runs. */
export function manualSeed(seed: number): void {
  generator.state = { seed, counter: 0 };
}

/** What `fn`, which is not async, returns, and what it draws from. */
export function drawing<T>(fn: () => T): [T, Draws] {
  const before = draws;
  const mine = new Map<Generator, GeneratorState>();
  draws = mine;
  try {
    return [fn(), mine];
  } finally {
    draws = before;
    if (before) for (const [g, state] of mine) if (!before.has(g)) before.set(g, state);
  }
}

/** Runs `fn` with generators as they were, and winds them on again. */
export function rewound<T>(to: Draws, fn: () => T): T {
  const now = [...to.keys()].map((g) => [g, g.state] as const);
  for (const [g, state] of to) g.state = state;
  try {
    return fn();
  } finally {
    for (const [g, state] of now) g.state = state;
  }
}
