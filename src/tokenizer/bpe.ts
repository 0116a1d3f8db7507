/** Byte pair encoding over bytes. */
import { byteLevelJSON } from './byte.js';
import { Heap } from './heap.js';
import type { Tokenizer } from './tokenizer.js';
import { byteAlphabet, byteStream, bytesOf, checkId, decodeBytes } from './utf8.js';
import { eachWord, wordBytes, wordPattern } from './words.js';

/** Two neighbours, and the id that they become. */
export type Merge = [left: number, right: number, id: number];

/** Ids stay below 2^21. */
export const pairKey = (left: number, right: number) => left * 2 ** 21 + right;

/** Words of a language recur: each is merged once. Longer ones, and more than these, are merged again. */
const CACHED_WORDS = 1 << 17;
const CACHED_LENGTH = 64;

export class BPETokenizer implements Tokenizer {
  readonly kind = 'bpe';
  readonly #tokens: readonly Uint8Array[];
  readonly #merges: readonly Merge[];
  readonly #ranks: ReadonlyMap<number, number>;
  /** Id of each byte. */
  readonly #bytes: Int32Array;
  readonly #cache = new Map<string, Int32Array>();

  /** @param tokens bytes of each id, every single byte among them; @param merges the first comes first */
  constructor(tokens: readonly Uint8Array[], merges: readonly Merge[]) {
    this.#tokens = tokens;
    this.#merges = merges;
    this.#ranks = new Map(merges.map(([left, right], rank) => [pairKey(left, right), rank]));
    this.#bytes = new Int32Array(256);
    tokens.forEach((token, id) => {
      if (token.length === 1) this.#bytes[token[0]!] = id;
    });
  }

  get vocab(): number {
    return this.#tokens.length;
  }

  /** Any bytes: they need not be UTF-8. */
  encode(text: string | Uint8Array): Int32Array {
    const bytes = bytesOf(text);
    let out = new Int32Array(Math.ceil(bytes.length / 3) + 16);
    let length = 0;
    eachWord(bytes, (word) => {
      const ids = this.#word(word);
      if (length + ids.length > out.length) {
        const wider = new Int32Array(2 * out.length + ids.length);
        wider.set(out);
        out = wider;
      }
      out.set(ids, length);
      length += ids.length;
    });
    return out.slice(0, length);
  }

  decode(ids: Iterable<number>): string {
    return decodeBytes(Buffer.concat(Array.from(ids, (id) => this.#token(id))));
  }

  stream(): (id?: number) => string {
    const next = byteStream();
    return (id) => next(id === undefined ? undefined : this.#token(id));
  }

  toJSON(): object {
    const names = this.#tokens.map((token) => Array.from(token, (byte) => byteAlphabet[byte]).join(''));
    return byteLevelJSON({
      split: wordPattern,
      vocab: Object.fromEntries(names.map((name, id) => [name, id])),
      merges: this.#merges.map(([left, right]) => [names[left]!, names[right]!]),
    });
  }

  #token(id: number): Uint8Array {
    return this.#tokens[checkId(id, this.vocab)]!;
  }

  #word(word: string): Int32Array {
    let ids = this.#cache.get(word);
    if (ids) return ids;
    ids = this.#merge(Int32Array.from(wordBytes(word), (byte) => this.#bytes[byte]!));
    if (word.length <= CACHED_LENGTH) {
      if (this.#cache.size >= CACHED_WORDS) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  /** The first merge of the list that applies, at its first place, until none does. */
  #merge(ids: Int32Array): Int32Array {
    const n = ids.length;
    if (n < 2) return ids;
    const next = Int32Array.from(ids, (_, i) => i + 1);
    const previous = Int32Array.from(ids, (_, i) => i - 1);
    // rank 2^31 + place
    const heap = new Heap<number>((a, b) => a < b);
    const offer = (at: number) => {
      const right = next[at]!;
      const rank = right < n ? this.#ranks.get(pairKey(ids[at]!, ids[right]!)) : undefined;
      if (rank !== undefined) heap.push(rank * 2 ** 31 + at);
    };
    for (let at = 0; at < n - 1; at++) offer(at);
    for (let top = heap.pop(); top !== undefined; top = heap.pop()) {
      const [left, right, id] = this.#merges[Math.floor(top / 2 ** 31)]!;
      const at = top % 2 ** 31;
      const gone = next[at]!;
      // What was offered may have been merged with another since.
      if (ids[at] !== left || gone >= n || ids[gone] !== right) continue;
      ids[at] = id;
      ids[gone] = -1;
      next[at] = next[gone]!;
      if (next[at]! < n) previous[next[at]!] = at;
      if (previous[at]! >= 0) offer(previous[at]!);
      offer(at);
    }
    return ids.filter((id) => id >= 0);
  }
}
