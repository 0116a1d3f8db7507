/** Any text: files, plain or gzip, or a column of Parquet files. */
import { basename } from 'node:path';
import { z } from 'zod';
import { contiguous, corpus, sha256, textOptions, wholeCharacters } from './corpus.js';
import { defineData } from './data.js';
import { fileAt } from './files.js';
import { readTexts } from './texts.js';

/** Where to get texts that configurations name. */
const sources: Record<string, string> = {
  'tinyshakespeare.txt':
    'get https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt and name it ' +
    'tinyshakespeare.txt: it has 1,115,394 bytes and the SHA-256 ' +
    '86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed',
};

const textAt = (path: string): string => fileAt(path, sources[basename(path).replace(/\.gz$/, '')]);

export const textData = defineData({
  name: 'text',
  doc: 'any file of text, or several in a row: 90 % to train on, 5 % to validate on, 5 % to test on, contiguous',
  source: 'files of the user',
  options: {
    path: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .describe('the file, or files in their order: plain, .gz or, with a column, Parquet'),
    column: z.string().min(1).optional().describe('of Parquet files: the column that holds the text'),
    bytes: z.int().min(1).optional().describe('how many of the first bytes are taken; default all'),
    ...textOptions,
  },
  samples: [
    { path: 'test/fixtures/data/squares.txt', length: 32, batch: 3 },
    {
      path: ['test/fixtures/data/wikitext/wiki.valid.tokens', 'test/fixtures/data/squares.txt'],
      length: 48,
      batch: 2,
      tokenizer: { kind: 'character' },
    },
  ],
  async open({ path, column, bytes, length, tokenizer }, context) {
    const files = [path].flat().map(textAt);
    const joined = await readTexts(files, bytes, () => column);
    const text = tokenizer.kind === 'byte' ? joined : wholeCharacters(joined);
    const facts = { file: files.join(', '), bytes: text.length, sha256: sha256(text) };
    return corpus(contiguous(text, tokenizer), { length, tokenizer, facts }, context);
  },
});
