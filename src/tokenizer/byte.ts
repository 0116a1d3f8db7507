/** Bytes are their own ids. */
import type { Tokenizer } from './tokenizer.js';
import { byteAlphabet, byteStream, bytesOf, checkId, decodeBytes } from './utf8.js';

export class ByteTokenizer implements Tokenizer {
  readonly kind = 'byte';
  readonly vocab = 256;

  encode(text: string | Uint8Array): Int32Array {
    return Int32Array.from(bytesOf(text));
  }

  decode(ids: Iterable<number>): string {
    return decodeBytes(Uint8Array.from(ids, (id) => checkId(id, this.vocab)));
  }

  stream(): (id?: number) => string {
    const next = byteStream();
    return (id) => next(id === undefined ? undefined : Uint8Array.of(checkId(id, this.vocab)));
  }

  toJSON(): object {
    return byteLevelJSON({
      split: null,
      vocab: Object.fromEntries(byteAlphabet.map((character, byte) => [character, byte])),
      merges: [],
    });
  }
}

/** tokenizer.json of BPE over bytes; `split`: the pattern that cuts words, null for none. */
export function byteLevelJSON(of: {
  split: string | null;
  vocab: Record<string, number>;
  merges: [string, string][];
}): object {
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };
  const words = of.split !== null && {
    type: 'Split',
    pattern: { Regex: of.split },
    behavior: 'Isolated',
    invert: false,
  };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: words ? { type: 'Sequence', pretokenizers: [words, bytes] } : bytes,
    post_processor: null,
    decoder: bytes,
    model: bpeModel(of.vocab, of.merges),
  };
}

/** The member `model` of tokenizer.json. */
export const bpeModel = (vocab: Record<string, number>, merges: [string, string][]): object => ({
  type: 'BPE',
  dropout: null,
  unk_token: null,
  continuing_subword_prefix: null,
  end_of_word_suffix: null,
  fuse_unk: false,
  byte_fallback: false,
  ignore_merges: false,
  vocab,
  merges,
});
