/** Text to integers and back. */

export interface Tokenizer {
  readonly kind: 'byte' | 'character' | 'bpe' | 'file';
  /** Ids lie in [0, vocab). */
  readonly vocab: number;
  /** @throws DataError for a text that it cannot represent */
  encode(text: string | Uint8Array): Int32Array;
  /** @throws ArgumentError for an id outside [0, vocab) */
  decode(ids: Iterable<number>): string;
  /**
   * For text that comes token by token: what each one completes, '' while a character is incomplete. Called without an
   * id it ends the text: what was left incomplete comes as U+FFFD.
   */
  stream(): (id?: number) => string;
  /** What is written as tokenizer.json, in the format of Hugging Face. */
  toJSON(): object;
}
