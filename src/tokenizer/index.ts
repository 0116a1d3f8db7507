/** Tokenizers: made of a text, read from and written to tokenizer.json. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { DataError, FormatError } from '../runtime/errors.js';
import { writeAtomic } from '../runtime/files.js';
import { BPETokenizer } from './bpe.js';
import { trainBPE } from './bpe-train.js';
import { ByteTokenizer } from './byte.js';
import { CharacterTokenizer } from './character.js';
import { tokenizerFrom } from './json.js';
import type { Tokenizer } from './tokenizer.js';

export { tokenizerFrom } from './json.js';
export type { Tokenizer } from './tokenizer.js';

export const tokenizerSchema = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('byte') }),
    z.strictObject({ kind: z.literal('character') }),
    z.strictObject({
      kind: z.literal('bpe'),
      vocab: z
        .int()
        .min(256)
        .max(1_000_000)
        .describe('ids: 256 bytes and what merging makes of them, at most'),
    }),
    z.strictObject({
      kind: z.literal('file'),
      path: z.string().min(1).describe('a tokenizer.json of Hugging Face'),
    }),
  ])
  .describe(
    'what makes ids of text: bytes, characters of the training text, byte pairs merged, or a tokenizer.json',
  );

export type TokenizerConfig = z.output<typeof tokenizerSchema>;

/**
 * @param text what is trained on: 'character' and 'bpe' learn their ids from it
 * @throws DataError for a text, or a missing file, that no tokenizer can be made of
 */
export function makeTokenizer(config: TokenizerConfig, text: Uint8Array): Tokenizer {
  switch (config.kind) {
    case 'byte':
      return new ByteTokenizer();
    case 'file':
      return readTokenizer(config.path);
    case 'character':
      needText(config.kind, text);
      return CharacterTokenizer.of(text);
    case 'bpe': {
      needText(config.kind, text);
      const { tokens, merges } = trainBPE(text, config.vocab);
      return new BPETokenizer(tokens, merges);
    }
  }
}

function needText(kind: string, text: Uint8Array): void {
  if (text.length === 0)
    throw new DataError(`a ${kind} tokenizer learns from a text, and this one is empty`, {
      hint: "give it text, or take tokenizer kind 'byte'",
    });
}

/** @throws DataError where there is no file; FormatError for one that is no tokenizer */
export function readTokenizer(path: string): Tokenizer {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new DataError(`cannot read the tokenizer ${path}: ${(cause as Error).message}`, {
      hint: 'name a tokenizer.json of Hugging Face, as a model folder has it',
      cause,
    });
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`${path} is no tokenizer.json: ${(cause as Error).message}`, { cause });
  }
  return tokenizerFrom(json, path);
}

/** Writes tokenizer.json, whole or not at all. */
export const writeTokenizer = (path: string, tokenizer: Tokenizer): void =>
  writeAtomic(path, `${JSON.stringify(tokenizer.toJSON(), null, 1)}\n`);
