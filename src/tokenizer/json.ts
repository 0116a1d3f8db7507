/** tokenizer.json: what was written here becomes the classes here again, all else goes to Hugging Face's library. */
import { z } from 'zod';
import { FormatError } from '../runtime/errors.js';
import { BPETokenizer, type Merge } from './bpe.js';
import { ByteTokenizer } from './byte.js';
import { CharacterTokenizer } from './character.js';
import { FileTokenizer, type TokenizerJSON } from './file.js';
import type { Tokenizer } from './tokenizer.js';
import { byteAlphabet } from './utf8.js';
import { wordPattern } from './words.js';

const id = z
  .int()
  .min(0)
  .max(2 ** 21 - 1);

const step = z.looseObject({ type: z.string() });
const steps = z.array(step).optional();
/** A step, or a Sequence of them, by the name that each kind of step gives its list. */
const component = step
  .extend({ normalizers: steps, pretokenizers: steps, processors: steps, decoders: steps })
  .nullish();

/** What every tokenizer.json has, whoever wrote it. */
const anyTokenizer = z.looseObject({
  added_tokens: z.array(z.looseObject({ id, content: z.string() })),
  normalizer: component,
  pre_tokenizer: component,
  post_processor: component,
  decoder: component,
  model: z.looseObject({
    type: z.string().optional(),
    vocab: z.union([z.record(z.string(), id), z.array(z.tuple([z.string(), z.number()]))]),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])).optional(),
    unk_token: z.string().nullish(),
  }),
});

type AnyTokenizer = z.output<typeof anyTokenizer>;

/**
 * Of what toJSON gave, or of any tokenizer.json of Hugging Face.
 * @param name what errors call it
 * @throws FormatError for what is no tokenizer
 */
export function tokenizerFrom(json: unknown, name = 'tokenizer.json'): Tokenizer {
  const parsed = anyTokenizer.safeParse(json);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new FormatError(`${name} is no tokenizer.json: ${issue.path.join('.') || 'it'}: ${issue.message}`, {
      hint: 'name a tokenizer.json of Hugging Face, as a model folder has it',
    });
  }
  const refuse = (what: string) => new FormatError(`${name} is no tokenizer.json: ${what}`);
  const { model } = parsed.data;
  // As it was read: a copy loses a token called __proto__.
  const { vocab } = (json as TokenizerJSON).model as { vocab: Record<string, number> | unknown[] };
  if (Array.isArray(vocab)) return new FileTokenizer(json as TokenizerJSON, name);
  const tokens = tokensById(vocab, parsed.data.added_tokens, refuse);
  const merges = (model.merges ?? []).map((merge) => parts(merge, refuse));
  if (model.type === 'BPE' && !model.continuing_subword_prefix)
    for (const [left, right] of merges)
      for (const token of [left, right, left + right])
        if (!Object.hasOwn(vocab, token))
          throw refuse(
            `merge ${JSON.stringify([left, right])} needs ${JSON.stringify(token)}, which is no token`,
          );
  switch (shape(parsed.data)) {
    case 'words':
      return new BPETokenizer(...byteTokens(tokens, merges, vocab, refuse));
    case 'bytes':
      if (
        merges.length === 0 &&
        tokens.length === byteAlphabet.length &&
        byteAlphabet.every((character, byte) => tokens[byte] === character)
      )
        return new ByteTokenizer();
      break;
    case 'characters':
      if (merges.length === 0 && Array.from(tokens).every((token) => token && [...token].length === 1))
        return new CharacterTokenizer(tokens);
  }
  return new FileTokenizer(json as TokenizerJSON, name);
}

/** Which of the forms that are written here it has. */
function shape(json: AnyTokenizer): 'words' | 'bytes' | 'characters' | 'other' {
  const { model, decoder, pre_tokenizer: cut } = json;
  const plain =
    model.type === 'BPE' &&
    json.added_tokens.length === 0 &&
    !json.normalizer &&
    !json.post_processor &&
    [model.dropout, model.unk_token, model.continuing_subword_prefix, model.end_of_word_suffix].every(
      (option) => option === null || option === undefined,
    ) &&
    !model.byte_fallback &&
    !model.ignore_merges;
  if (!plain) return 'other';
  if (!cut) return decoder?.type === 'Fuse' ? 'characters' : 'other';
  if (decoder?.type !== 'ByteLevel') return 'other';
  if (isByteLevel(cut)) return 'bytes';
  const list = cut.type === 'Sequence' ? (cut.pretokenizers ?? []) : [];
  const [words, bytes] = list;
  const ours =
    list.length === 2 &&
    words?.type === 'Split' &&
    (words.pattern as { Regex?: string } | undefined)?.Regex === wordPattern &&
    words.behavior === 'Isolated' &&
    words.invert !== true &&
    isByteLevel(bytes);
  return ours ? 'words' : 'other';
}

const isByteLevel = (step: Record<string, unknown> | undefined) =>
  step?.type === 'ByteLevel' && step.add_prefix_space === false && step.use_regex === false;

type Refuse = (what: string) => FormatError;

/** Undefined for ids that have none. @throws FormatError where there are no tokens, or two have one id */
function tokensById(
  vocab: Record<string, number>,
  added: readonly { id: number; content: string }[],
  refuse: Refuse,
): string[] {
  const tokens: string[] = [];
  const entries = Object.entries(vocab);
  if (entries.length === 0) throw refuse('model.vocab is empty');
  for (const [token, id] of [...entries, ...added.map(({ content, id }) => [content, id] as const)]) {
    if (tokens[id] !== undefined && tokens[id] !== token)
      throw refuse(`${JSON.stringify(tokens[id])} and ${JSON.stringify(token)} both have id ${id}`);
    tokens[id] = token;
  }
  return tokens;
}

function parts(merge: string | [string, string], refuse: Refuse): [string, string] {
  const [left, right, ...more] = typeof merge === 'string' ? merge.split(' ') : merge;
  if (!left || !right || more.length > 0) throw refuse(`merge ${JSON.stringify(merge)} is no pair of tokens`);
  return [left, right];
}

function byteTokens(
  names: readonly string[],
  merges: readonly [string, string][],
  vocab: Record<string, number>,
  refuse: Refuse,
): [tokens: Uint8Array[], merges: Merge[]] {
  const bytes = new Map(byteAlphabet.map((character, byte) => [character, byte]));
  for (const character of byteAlphabet)
    if (!Object.hasOwn(vocab, character)) throw refuse(`${JSON.stringify(character)}, a byte, is no token`);
  const tokens = Array.from(names, (name, id) => {
    if (name === undefined) throw refuse(`no token has id ${id}`);
    return Uint8Array.from(name, (character) => {
      const byte = bytes.get(character);
      if (byte === undefined)
        throw refuse(`${JSON.stringify(name)} has ${JSON.stringify(character)}, no byte`);
      return byte;
    });
  });
  return [tokens, merges.map(([left, right]) => [vocab[left]!, vocab[right]!, vocab[left + right]!])];
}
