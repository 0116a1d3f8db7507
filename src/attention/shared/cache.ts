/** What a layer remembers of the tokens before, so that decoding computes only what is new. */
import { fill, slice, writeRowsStep } from '../../ops/index.js';
import { ArgumentError, DTypeError } from '../../runtime/errors.js';
import type { DType } from '../../tensor/dtype.js';
import { keep, scope } from '../../tensor/scope.js';
import type { Tensor } from '../../tensor/tensor.js';

/** The memory of one layer for one batch of sequences. Belongs to no scope: dispose it. */
export abstract class AttentionCache {
  /** Tokens seen so far. */
  length = 0;
  /** Of the layer whose `newCache` made it: 'flash'. */
  kind: string | undefined;

  constructor(readonly batch: number) {}

  /** Bytes that the tokens seen so far take; what is kept free for later ones is not counted. */
  abstract readonly bytes: number;
  /** Forgets everything. */
  abstract reset(): void;
  abstract dispose(): void;
  /** What brings back the cache as it is now; one of the two is called. */
  abstract mark(): Mark;

  [Symbol.dispose](): void {
    this.dispose();
  }
}

export interface Mark {
  restore(): void;
  forget(): void;
}

/** Runs `fn`, which is not async and appends to caches: where it throws, they are as they were. */
export function allOrNothing<T>(caches: readonly AttentionCache[], fn: () => T): T {
  const marks = caches.map((cache) => cache.mark());
  let result: T;
  try {
    result = fn();
  } catch (error) {
    for (const mark of marks) mark.restore();
    throw error;
  }
  for (const mark of marks) mark.forget();
  return result;
}

/** Rows that a token adds: name → shape after [batch, token]. */
export type RowShapes = Readonly<Record<string, readonly number[]>>;

const LEAST = 64; // tokens for which there is room at first

/**
 * Some rows a token: keys and values, say. They lie in tensors [batch, capacity, …] with room for later ones, which
 * doubles when it is used up, so that a token is written once and copied a constant number of times.
 */
export class RowCache<Name extends string = string> extends AttentionCache {
  #rows = new Map<string, Tensor>();

  constructor(
    batch: number,
    readonly shapes: Readonly<Record<Name, readonly number[]>>,
  ) {
    super(batch);
  }

  get capacity(): number {
    return [...this.#rows.values()][0]?.shape[1] ?? 0;
  }

  get bytes(): number {
    let bytes = 0;
    for (const rows of this.#rows.values()) bytes += (rows.spec.bytes / rows.shape[1]!) * this.length;
    return bytes;
  }

  /**
   * Appends `fresh`, each [batch, tokens, …], and returns the whole tensors, of which the first `length` rows are
   * there. They remain the cache's: do not dispose them.
   */
  append(fresh: Readonly<Record<Name, Tensor>>): Record<Name, Tensor> {
    const entries = Object.entries(fresh) as [Name, Tensor][];
    const tokens = entries[0]![1].shape[1]!;
    for (const [name, rows] of entries) this.#check(name, rows, tokens);
    const needed = this.length + tokens;
    const whole = entries.map(([name, rows]) => {
      const room = this.#room(name, needed, rows.dtype);
      if (tokens > 0) scope(() => writeRowsStep(room, rows, { at: this.length }));
      return [name, room] as const;
    });
    this.length = needed;
    return Object.fromEntries(whole) as Record<Name, Tensor>;
  }

  /** The rows that are there, [batch, length, …]: a copy of them, unless they fill their room. */
  rows(name: Name): Tensor {
    const all = this.#rows.get(name)!;
    return all.shape[1] === this.length ? all : slice(all, { ends: [this.batch, this.length] });
  }

  reset(): void {
    this.length = 0;
  }

  /** Rows behind the last token are written again. */
  mark(): Mark {
    const { length } = this;
    return {
      restore: () => {
        this.length = length;
      },
      forget() {},
    };
  }

  dispose(): void {
    for (const rows of this.#rows.values()) rows.dispose();
    this.#rows.clear();
    this.length = 0;
  }

  #check(name: Name, rows: Tensor, tokens: number): void {
    const wanted = [this.batch, tokens, ...this.shapes[name]];
    if (rows.shape.join() !== wanted.join())
      throw new ArgumentError(`${name} is ${rows} but rows are [${wanted}]`, {
        op: 'RowCache',
        hint: 'a cache serves the layer and the batch size that it was made for',
      });
    const dtype = this.length > 0 ? this.#rows.get(name)?.dtype : undefined;
    if (dtype && dtype !== rows.dtype)
      throw new DTypeError(`${name} is ${rows.dtype} but the rows before are ${dtype}`, {
        op: 'RowCache',
        hint: 'decode all tokens inside autocast or all outside, or begin anew with reset()',
      });
  }

  #room(name: Name, needed: number, dtype: DType): Tensor {
    const old = this.#rows.get(name);
    if (old && old.shape[1]! >= needed && old.dtype === dtype) return old;
    const capacity = Math.max(LEAST, 2 ** Math.ceil(Math.log2(needed)));
    const room = keep(fill({ shape: [this.batch, capacity, ...this.shapes[name]], value: 0, dtype }));
    if (old && this.length > 0) writeRowsStep(room, old, { at: 0 });
    old?.dispose();
    this.#rows.set(name, room);
    return room;
  }
}

/** A state of fixed size: sums over all tokens seen. Names are the kind's own. */
export class StateCache<Name extends string = string> extends AttentionCache {
  readonly #states = new Map<Name, Tensor>();

  get bytes(): number {
    let bytes = 0;
    for (const state of this.#states.values()) bytes += state.spec.bytes;
    return bytes;
  }

  /** The state so far; undefined before the first token. */
  get(name: Name): Tensor | undefined {
    return this.#states.get(name);
  }

  /** Takes over the states after `tokens` more tokens. */
  advance(tokens: number, states: Readonly<Record<Name, Tensor>>): void {
    for (const [name, state] of Object.entries(states) as [Name, Tensor][]) {
      const old = this.#states.get(name);
      if (old !== state) old?.dispose();
      this.#states.set(name, keep(state));
    }
    this.length += tokens;
  }

  reset(): void {
    this.dispose();
  }

  mark(): Mark {
    const { length } = this;
    const before = [...this.#states].map(([name, state]) => [name, keep(state.detach())] as const);
    return {
      restore: () => {
        this.dispose();
        for (const [name, state] of before) this.#states.set(name, state);
        this.length = length;
      },
      forget: () => {
        for (const [, state] of before) state.dispose();
      },
    };
  }

  dispose(): void {
    for (const state of this.#states.values()) state.dispose();
    this.#states.clear();
    this.length = 0;
  }
}
