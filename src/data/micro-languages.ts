/**
 * Micro-languages: one Markov chain a topic over a shared vocabulary. Row (topic, token) of the transition table is
 * Dirichlet(1/2) over the regular tokens; those of the topic's own range count `concentration` times, and 50 pairs
 * within it, the topic's signature, 10 times more.
 *
 * The table is never held. A weight is a function of (seed, topic, token, next), so of each row only running sums at
 * the ends of chunks are kept, once it has been visited; a draw finds its chunk among them and makes that chunk again.
 * At V = 4096 and 5 topics the sums take 10 MB, where the table takes 335 MB.
 */
import { philoxInto } from '../ops/philox.js';
import { Draws } from './draws.js';

/** Padding, beginning, end: ids that no chain visits. */
export const SPECIALS = 3;
const SIGNATURES = 50;
/**
 * How much more a signature counts. The specification first damps the whole row by 0.3, which normalising undoes.
 */
const BOOST = 10;
/** Bytes of running sums, about, at most. */
const BOUND = 2 ** 26;
const TABLE = 0x7461626c;
const SIGNATURE = 0x7369676e;

export interface MicroConfig {
  /** V, special ids included. */
  vocab: number;
  topics: number;
  concentration: number;
}

/** Regular tokens, tokens of a topic's own range, and all others. */
export function ranges({ vocab, topics }: MicroConfig): { regular: number; own: number; others: number } {
  const regular = vocab - SPECIALS;
  const own = Math.floor(regular / topics);
  return { regular, own, others: regular - own };
}

/** Tokens are counted from 0 here, the first regular one: the id less SPECIALS. */
export class MicroLanguages {
  readonly #regular: number;
  readonly #own: number;
  /** Tokens of a chunk: a multiple of 4, what one counter of Philox makes. */
  readonly #chunk: number;
  readonly #chunks: number;
  /** [topic, token, chunk]: the sum of the weights up to the chunk's end; 0 in rows not visited yet. */
  readonly #sums: Float32Array;
  readonly #weights: Float64Array;
  readonly #words: Uint32Array;
  /** By topic: the successor that a token's signature names. */
  readonly #signatures: readonly ReadonlyMap<number, number>[];
  readonly #key: readonly [number, number];

  constructor(
    readonly config: MicroConfig,
    seed: number,
  ) {
    const { regular, own } = ranges(config);
    this.#regular = regular;
    this.#own = own;
    this.#key = [seed >>> 0, (Math.floor(seed / 2 ** 32) ^ TABLE) >>> 0];
    const rows = config.topics * regular;
    this.#chunk = 32;
    while ((4 * rows * regular) / this.#chunk > BOUND && this.#chunk < regular) this.#chunk *= 2;
    this.#chunks = Math.ceil(regular / this.#chunk);
    this.#sums = new Float32Array(rows * this.#chunks);
    this.#weights = new Float64Array(this.#chunk);
    this.#words = new Uint32Array(this.#chunk);
    const pairs = Math.min(SIGNATURES, Math.floor(own / 2));
    this.#signatures = Array.from({ length: config.topics }, (_, topic) => {
      const drawn = new Draws(seed, SIGNATURE, 'train', topic).distinct(2 * pairs, own);
      return new Map(
        Array.from({ length: pairs }, (_, i) => [
          drawn[2 * i]! + topic * own,
          drawn[2 * i + 1]! + topic * own,
        ]),
      );
    });
  }

  /** Bytes that running sums take once every row has been visited. */
  get bytes(): number {
    return this.#sums.byteLength;
  }

  /** The pairs that a topic's signature is. */
  signature(topic: number): ReadonlyMap<number, number> {
    return this.#signatures[topic]!;
  }

  /** The successor of a token at u in [0, 1) of the row's cumulative distribution. */
  next(topic: number, token: number, u: number): number {
    const row = this.#row(topic, token);
    const sums = this.#sums;
    const target = u * sums[row + this.#chunks - 1]!;
    let chunk = 0;
    for (let last = this.#chunks - 1; chunk < last; ) {
      const middle = (chunk + last) >> 1;
      if (sums[row + middle]! > target) last = middle;
      else chunk = middle + 1;
    }
    const length = this.#fill(topic, token, chunk);
    let left = target - (chunk > 0 ? sums[row + chunk - 1]! : 0);
    let at = 0;
    // Sums are rounded: what they leave over is the last token's.
    for (; at < length - 1; at++) if ((left -= this.#weights[at]!) < 0) break;
    return chunk * this.#chunk + at;
  }

  /** P(next | token) in a topic. */
  probability(topic: number, token: number, next: number): number {
    const total = this.#sums[this.#row(topic, token) + this.#chunks - 1]!;
    this.#fill(topic, token, Math.floor(next / this.#chunk));
    return this.#weights[next % this.#chunk]! / total;
  }

  /** P(· | token) in a topic, [regular tokens]. */
  row(topic: number, token: number): Float64Array {
    const total = this.#sums[this.#row(topic, token) + this.#chunks - 1]!;
    const out = new Float64Array(this.#regular);
    for (let chunk = 0; chunk < this.#chunks; chunk++) {
      const length = this.#fill(topic, token, chunk);
      for (let i = 0; i < length; i++) out[chunk * this.#chunk + i] = this.#weights[i]! / total;
    }
    return out;
  }

  /** Where a row's sums begin; they are made at the first visit. */
  #row(topic: number, token: number): number {
    const row = (topic * this.#regular + token) * this.#chunks;
    if (this.#sums[row] === 0) {
      let sum = 0;
      for (let chunk = 0; chunk < this.#chunks; chunk++) {
        const length = this.#fill(topic, token, chunk);
        for (let i = 0; i < length; i++) sum += this.#weights[i]!;
        this.#sums[row + chunk] = sum;
      }
    }
    return row;
  }

  /**
   * Writes the weights of a chunk and gives how many there are. Two halved squares of normals, each Gamma(1/2), come of
   * one exponential E and one angle: E cos² and E sin² (Box and Muller 1958).
   */
  #fill(topic: number, token: number, chunk: number): number {
    const start = chunk * this.#chunk;
    const length = Math.min(this.#chunk, this.#regular - start);
    const weights = this.#weights;
    const words = this.#words;
    const [k0, k1] = this.#key;
    for (let i = 0; i < length; i += 4) philoxInto(words, i, (start + i) / 4, token, topic, 0, k0, k1);
    for (let i = 0; i < length; i += 2) {
      const exponential = -Math.log((words[i]! + 0.5) / 2 ** 32);
      const cosine = Math.cos((words[i + 1]! + 0.5) * (Math.PI / 2 ** 32));
      weights[i] = exponential * cosine * cosine;
      if (i + 1 < length) weights[i + 1] = exponential - weights[i]!;
    }
    const from = Math.max(0, topic * this.#own - start);
    const to = Math.min(length, (topic + 1) * this.#own - start);
    for (let i = from; i < to; i++) weights[i]! *= this.config.concentration;
    const signed = (this.#signatures[topic]!.get(token) ?? -1) - start;
    if (signed >= 0 && signed < length) weights[signed]! *= BOOST;
    return length;
  }
}
