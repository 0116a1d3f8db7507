/**
 * Byte pair encoding learned from a text (Sennrich et al. 2016, over bytes as Radford et al. 2019): the commonest pair
 * of neighbours becomes a token, again and again. Of pairs as common as each other the one of lower ids comes first.
 */
import { type Merge, pairKey } from './bpe.js';
import { Heap } from './heap.js';
import { eachWord, wordBytes } from './words.js';

/** Longer words are counted in pieces, so that text without spaces costs no more than other text. */
const PIECE = 128;

interface Pair {
  left: number;
  right: number;
  count: number;
  /** Words that have it, or had it once. */
  words: number[];
}

/** Token bytes by id, the 256 bytes first, and the merges in their order; fewer than `vocab` where no pair recurs. */
export function trainBPE(text: Uint8Array, vocab: number): { tokens: Uint8Array[]; merges: Merge[] } {
  const tokens = Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte));
  const merges: Merge[] = [];
  const counts = new PairCounts(text);
  // Two splits of the same bytes are one token.
  const ids = new Map(tokens.map((token, id) => [String.fromCharCode(...token), id]));
  const learned = new Set<number>();
  while (tokens.length < vocab) {
    const best = counts.commonest();
    if (!best) break;
    const { left, right } = best;
    const bytes = Buffer.concat([tokens[left]!, tokens[right]!]);
    const name = bytes.toString('latin1');
    let id = ids.get(name);
    if (id === undefined) {
      id = tokens.push(new Uint8Array(bytes)) - 1;
      ids.set(name, id);
    }
    if (!learned.has(pairKey(left, right))) merges.push([left, right, id]);
    learned.add(pairKey(left, right));
    counts.merge(best, id);
  }
  return { tokens, merges };
}

/** How often each two ids are neighbours, kept as words change. */
class PairCounts {
  readonly #words: number[][] = [];
  readonly #times: number[] = [];
  readonly #pairs = new Map<number, Pair>();
  /** Counts as they were when pushed: what has changed since is pushed again when it comes up. */
  readonly #heap = new Heap<{ pair: Pair; count: number }>(
    (a, b) =>
      a.count > b.count ||
      (a.count === b.count &&
        (a.pair.left < b.pair.left || (a.pair.left === b.pair.left && a.pair.right < b.pair.right))),
  );

  constructor(text: Uint8Array) {
    const times = new Map<string, number>();
    eachWord(text, (word) => {
      for (let at = 0; at < word.length; ) {
        let end = Math.min(at + PIECE, word.length);
        if (word.codePointAt(end - 1)! > 0xffff) end++; // half of a surrogate pair: it goes with the other
        const piece = word.slice(at, end);
        times.set(piece, (times.get(piece) ?? 0) + 1);
        at = end;
      }
    });
    for (const [word, count] of times) {
      const symbols = Array.from(wordBytes(word));
      if (symbols.length < 2) continue;
      this.#words.push(symbols);
      this.#times.push(count);
      for (let i = 1; i < symbols.length; i++)
        this.#add(symbols[i - 1]!, symbols[i]!, count, this.#words.length - 1);
    }
    for (const pair of this.#pairs.values()) this.#heap.push({ pair, count: pair.count });
  }

  /** Undefined where none occurs twice. */
  commonest(): Pair | undefined {
    for (;;) {
      const top = this.#heap.pop();
      if (!top || top.count < 2) return undefined;
      const { pair, count } = top;
      if (this.#pairs.get(pairKey(pair.left, pair.right)) !== pair) continue;
      if (pair.count === count) return pair;
      if (pair.count < count) this.#heap.push({ pair, count: pair.count });
    }
  }

  /** Makes the pair one id in every word. */
  merge(pair: Pair, id: number): void {
    const { left, right } = pair;
    const grown = new Set<Pair>();
    for (const index of pair.words) {
      const word = this.#words[index]!;
      const count = this.#times[index]!;
      let to = 0;
      for (let at = 0; at < word.length; at++) {
        if (word[at] !== left || word[at + 1] !== right) {
          word[to++] = word[at]!;
          continue;
        }
        if (to > 0) {
          this.#remove(word[to - 1]!, left, count);
          grown.add(this.#add(word[to - 1]!, id, count, index));
        }
        const next = word[at + 2];
        if (next !== undefined) {
          this.#remove(right, next, count);
          grown.add(this.#add(id, next, count, index));
        }
        word[to++] = id;
        at++;
      }
      word.length = to;
    }
    this.#pairs.delete(pairKey(left, right));
    for (const pair of grown) this.#heap.push({ pair, count: pair.count });
  }

  #add(left: number, right: number, count: number, word: number): Pair {
    const key = pairKey(left, right);
    let pair = this.#pairs.get(key);
    if (!pair) this.#pairs.set(key, (pair = { left, right, count: 0, words: [] }));
    pair.count += count;
    if (pair.words.at(-1) !== word) pair.words.push(word);
    return pair;
  }

  #remove(left: number, right: number, count: number): void {
    const pair = this.#pairs.get(pairKey(left, right));
    if (pair) pair.count -= count;
  }
}
