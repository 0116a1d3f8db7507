/**
 * The order of rows and the places where texts are cut: functions of seed and epoch, so that a position in training is
 * one number and nothing is kept.
 */
import { ArgumentError } from '../runtime/errors.js';

/** Rounds of the network. Four make it pseudo-random on large domains; small domains need more. */
const ROUNDS = 8;

/** 32 bits of 32: multiply, xor and shift until every bit of the input reaches every bit of the output. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** 32 bits of integers up to 2^53, in their order. */
export const hash = (...values: readonly number[]): number =>
  values.reduce((h, v) => mix(mix(h ^ (v >>> 0)) + (Math.floor(v / 2 ** 32) >>> 0) + 0x9e3779b9), 0x243f6a88);

/**
 * A permutation of [0, n) in O(1) memory: a Feistel network over pairs (l, r) of [0, a)², a = ⌈√n⌉,
 *
 *   (l, r) ← (r, (l + f_k(r)) mod a),   f_k a hash keyed by seed, epoch and the round k,
 *
 * each round of which can be undone, so that their composition is a bijection of [0, a²). What lands at n or above
 * walks on along its cycle until it is below (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002): a² is
 * below n + 2√n + 1, so hardly anything walks.
 */
export function permutation(n: number, seed: number, epoch: number): (index: number) => number {
  if (!Number.isInteger(n) || n < 0 || n > 2 ** 32)
    throw new ArgumentError(`n is ${n}`, { op: 'permutation', hint: 'give an integer of 0 to 2^32' });
  const a = Math.max(2, Math.ceil(Math.sqrt(n)));
  const keys = Array.from({ length: ROUNDS }, (_, k) => hash(seed, epoch, k));
  return (index) => {
    if (!(index >= 0 && index < n))
      throw new ArgumentError(`index ${index} lies outside [0, ${n})`, {
        op: 'permutation',
        hint: 'indices are those of the rows',
      });
    let at = index;
    do {
      let l = Math.floor(at / a);
      let r = at % a;
      for (const key of keys) {
        const next = (l + (mix(r ^ key) % a)) % a;
        l = r;
        r = next;
      }
      at = l * a + r;
    } while (at >= n);
    return at;
  };
}

/**
 * Windows of T + 1 tokens, each of which begins at the last token of the one before: T ids, and as labels the T tokens
 * that follow them, so that ids tile the text and no token is predicted twice.
 */
export interface Windows {
  count: number;
  /** The first token of window `index`. */
  start(index: number, epoch: number): number;
}

/** As evaluation reads: from the beginning, as many as there are. */
export function fixedWindows(tokens: number, length: number): Windows {
  return { count: Math.max(0, Math.floor((tokens - 1) / length)), start: (index) => index * length };
}

/**
 * As training reads: moved by an offset of [0, T), another one in each of T epochs, so that every boundary moves and
 * every token comes to stand at every place of a row. One window is given up for the room that this takes, where
 * there are two; a text of one window moves by what it has beyond.
 */
export function movingWindows(tokens: number, length: number, seed: number): Windows {
  const count = Math.max(
    Math.min(1, fixedWindows(tokens, length).count),
    Math.floor((tokens - 1) / length) - 1,
  );
  const offsets = Math.max(1, Math.min(length, tokens - count * length));
  const offset = permutation(offsets, seed, 0);
  return { count, start: (index, epoch) => index * length + offset(epoch % offsets) };
}
