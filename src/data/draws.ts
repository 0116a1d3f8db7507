/** Random draws that are functions of where they are: row `index` of a split under a seed, and nothing before it. */
import { philoxInto } from '../ops/philox.js';
import { ArgumentError, ConfigError } from '../runtime/errors.js';
import { type Split, splits } from './data.js';

/** Ids of a set that draws them, at most: more than any model has a table for, and tables of them fit in memory. */
export const MOST_IDS = 2 ** 24;

const low = (x: number) => x >>> 0;
const high = (x: number) => Math.floor(x / 2 ** 32) >>> 0;

/** The words of one row, one after the other. */
export class Draws {
  readonly #words = new Uint32Array(4);
  #used = 4;
  #counter = 0;
  readonly #row: readonly [number, number];
  readonly #split: number;
  readonly #key: readonly [number, number];

  /** @param purpose 32 bits that tell sets with the same seed apart */
  constructor(seed: number, purpose: number, split: Split, index: number) {
    this.#row = [low(index), high(index)];
    this.#split = splits.indexOf(split);
    this.#key = [low(seed), (high(seed) ^ purpose) >>> 0];
  }

  /** An integer in [0, 2^32). */
  word(): number {
    if (this.#used === 4) {
      const [k0, k1] = this.#key;
      philoxInto(this.#words, 0, this.#counter++, this.#row[0], this.#row[1], this.#split, k0, k1);
      this.#used = 0;
    }
    return this.#words[this.#used++]!;
  }

  /** A number in [0, 1) of 32 bits. */
  unit(): number {
    return this.word() / 2 ** 32;
  }

  /**
   * An integer in [0, n), each as likely: words above the last multiple of n are drawn again.
   * @throws ArgumentError unless n is 1 to 2^32
   */
  below(n: number): number {
    if (!(n >= 1 && n <= 2 ** 32))
      throw new ArgumentError(`n is ${n}`, { op: 'below', hint: 'a word has 32 bits: 1 to 2^32' });
    const end = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const word = this.word();
      if (word < end) return word % n;
    }
  }

  /** The first `count` of a shuffle of [0, n) (Fisher and Yates). */
  distinct(count: number, n: number): number[] {
    const moved = new Map<number, number>();
    return Array.from({ length: count }, (_, i) => {
      const j = i + this.below(n - i);
      const drawn = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
      return drawn;
    });
  }
}

/** A configuration of a set that cannot be. */
export function impossible(key: string, message: string, hint: string): ConfigError {
  const error = new ConfigError(`data.${key}: ${message}`, { hint });
  error.path = `data.${key}`;
  return error;
}
