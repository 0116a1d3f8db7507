/** The characters of a text: its code points, sorted, are the ids. */
import { DataError } from '../runtime/errors.js';
import { bpeModel } from './byte.js';
import type { Tokenizer } from './tokenizer.js';
import { checkId, textOf } from './utf8.js';

export class CharacterTokenizer implements Tokenizer {
  readonly kind = 'character';
  readonly #characters: readonly string[];
  /** Id of each code point, -1 for none. */
  readonly #ids: Int32Array;

  constructor(characters: readonly string[]) {
    this.#characters = characters;
    const codes = characters.map((character) => character.codePointAt(0)!);
    this.#ids = new Int32Array(codes.reduce((most, code) => Math.max(most, code + 1), 0)).fill(-1);
    codes.forEach((code, id) => {
      this.#ids[code] = id;
    });
  }

  static of(text: Uint8Array): CharacterTokenizer {
    const seen = new Uint8Array(0x110000);
    for (const character of textOf(text)) seen[character.codePointAt(0)!] = 1;
    const characters: string[] = [];
    for (let code = 0; code < seen.length; code++)
      if (seen[code]) characters.push(String.fromCodePoint(code));
    return new CharacterTokenizer(characters);
  }

  get vocab(): number {
    return this.#characters.length;
  }

  encode(text: string | Uint8Array): Int32Array {
    const string = textOf(text);
    const out = new Int32Array(string.length);
    let length = 0;
    for (let at = 0; at < string.length; ) {
      const code = string.codePointAt(at)!;
      const id = this.#ids[code] ?? -1;
      if (id < 0) throw this.#unknown(string, at, length);
      out[length++] = id;
      at += code > 0xffff ? 2 : 1;
    }
    return length === out.length ? out : out.slice(0, length);
  }

  decode(ids: Iterable<number>): string {
    return Array.from(ids, (id) => this.#characters[checkId(id, this.vocab)]!).join('');
  }

  stream(): (id?: number) => string {
    return (id) => (id === undefined ? '' : this.#characters[checkId(id, this.vocab)]!);
  }

  toJSON(): object {
    return {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: { type: 'Fuse' },
      model: bpeModel(Object.fromEntries(this.#characters.map((character, id) => [character, id])), []),
    };
  }

  #unknown(text: string, at: number, place: number): DataError {
    const code = text.codePointAt(at)!;
    const before = text.slice(0, at).split('\n');
    const column = [...before.at(-1)!].length + 1;
    const name = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
    return new DataError(
      `character ${JSON.stringify(String.fromCodePoint(code))} (${name}) at place ${place} (line ${before.length}, ` +
        `column ${column}) is not among the ${this.vocab} characters of the training text`,
      { op: 'encode', hint: "tokenizer kinds 'byte' and 'bpe' take any text" },
    );
  }
}
