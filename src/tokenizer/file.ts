/** Any tokenizer.json of Hugging Face, read by their library. */
import * as library from '@huggingface/tokenizers';
import { ArgumentError, DataError, FormatError } from '../runtime/errors.js';
import type { Tokenizer } from './tokenizer.js';
import { textOf } from './utf8.js';

/** What this file itself reads of tokenizer.json; the rest is the library's. */
export interface TokenizerJSON {
  model: { unk_token?: string | null; [key: string]: unknown };
  added_tokens: readonly { id: number; content: string }[];
  [key: string]: unknown;
}

/** What is used of the library, whose own types TypeScript does not find. */
interface Library {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[]; tokens: string[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
  id_to_token(id: number): string | undefined;
  get_vocab(): Map<string, number>;
}
const makeLibrary = library.Tokenizer as new (json: object, options: object) => Library;

/** How a decoder writes what is no whole character yet. */
const INCOMPLETE = '\ufffd';

export class FileTokenizer implements Tokenizer {
  readonly kind = 'file';
  readonly vocab: number;
  readonly #json: TokenizerJSON;
  readonly #library: Library;

  /** @throws FormatError where the library cannot make a tokenizer of it, or would make another one */
  constructor(json: TokenizerJSON, name: string) {
    const unheard = misread(json);
    if (unheard)
      throw new FormatError(
        `${name} has ${unheard}, which the library that reads it takes for something else`,
        {
          hint: 'use another tokenizer: ids would not be those of the model',
        },
      );
    this.#json = json;
    try {
      // Without the name of the unknown token, words that the vocabulary lacks would have no id; and decoding is exact.
      const options = { unk_token: json.model.unk_token ?? undefined, clean_up_tokenization_spaces: false };
      this.#library = new makeLibrary(json, options);
      let most = -1;
      for (const id of this.#library.get_vocab().values()) most = Math.max(most, id);
      this.vocab = most + 1;
    } catch (cause) {
      throw new FormatError(`${name} is no tokenizer.json: ${(cause as Error).message}`, { cause });
    }
    if (this.vocab < 1) throw new FormatError(`${name} is no tokenizer.json: it has no tokens`);
  }

  /** Without special tokens at its ends. */
  encode(text: string | Uint8Array): Int32Array {
    const string = textOf(text);
    const { ids, tokens } = this.#read(string);
    ids.forEach((id, i) => {
      if (!Number.isInteger(id))
        throw new DataError(
          `token ${JSON.stringify(tokens[i])} (number ${i} of the text) is not in the vocabulary, which has no ` +
            'token for what is unknown',
          { op: 'encode', hint: 'use a tokenizer with an unk_token, or one that takes any bytes' },
        );
    });
    return Int32Array.from(ids);
  }

  decode(ids: Iterable<number>): string {
    const list = Array.from(ids, (id) => this.#check(id));
    return list.length === 0 ? '' : this.#library.decode(list, { skip_special_tokens: false });
  }

  /**
   * A decoder may change what came before (a space, half a character), so the last words are decoded again with each
   * token, and what they gained is new once it ends in a whole character.
   */
  stream(): (id?: number) => string {
    let context: number[] = [];
    let pending: number[] = [];
    return (id) => {
      if (id !== undefined) pending.push(this.#check(id));
      const before = this.decode(context);
      const after = this.decode([...context, ...pending]);
      if (id !== undefined && after.endsWith(INCOMPLETE)) return '';
      if (pending.length > 0) context = pending;
      pending = [];
      return after.slice(before.length);
    };
  }

  toJSON(): object {
    return this.#json;
  }

  #read(text: string): { ids: number[]; tokens: string[] } {
    try {
      return this.#library.encode(text, { add_special_tokens: false });
    } catch (cause) {
      const why = (cause as Error).message;
      throw new DataError(`tokenizer.json cannot be applied to a text of ${text.length} characters: ${why}`, {
        op: 'encode',
        hint: 'give it less text at once; Unigram models recurse on long ones',
        cause,
      });
    }
  }

  /** Ids below vocab may have no token: files leave some out. */
  #check(id: number): number {
    if (Number.isInteger(id) && this.#library.id_to_token(id) !== undefined) return id;
    throw new ArgumentError(`expected ids of tokens, from 0 to ${this.vocab - 1}, got ${id}`, {
      op: 'decode',
    });
  }
}

/** What of a file the library passes over in silence. */
function misread({ model, pre_tokenizer }: TokenizerJSON): string | undefined {
  if (model.type === 'BPE' && model.continuing_subword_prefix)
    return `model.continuing_subword_prefix ${JSON.stringify(model.continuing_subword_prefix)}`;
  const steps = [pre_tokenizer as Step | null | undefined].flatMap(
    (step) => step?.pretokenizers ?? step ?? [],
  );
  const split = steps.find(
    (step) => step?.type === 'Split' && !/^(isolated|removed)$/i.test(String(step.behavior)),
  );
  return split && `a pre_tokenizer Split of behavior ${JSON.stringify(split.behavior)}`;
}

interface Step {
  type?: string;
  behavior?: string;
  pretokenizers?: Step[];
}
