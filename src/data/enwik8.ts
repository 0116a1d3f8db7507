/** The first 100 million bytes of an English Wikipedia dump of 2006: bytes, or any other tokens. */
import { z } from 'zod';
import { contiguous, corpus, sha256, textOptions, wholeCharacters } from './corpus.js';
import { defineData } from './data.js';
import { findFile, readText } from './files.js';

/** Of the file, and of its first 4 million bytes. */
const known: readonly { bytes: number; sha256: string }[] = [
  { bytes: 100_000_000, sha256: '2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8' },
  { bytes: 4_000_000, sha256: '9f9ca3a41e2b87a0268d00380577e2c308e07959b22a94c8d7b1e8901bdefc37' },
];

export const enwik8Data = defineData({
  name: 'enwik8',
  doc: 'the first bytes of English Wikipedia: 90 % to train on, 5 % to validate on, 5 % to test on, contiguous',
  source: 'Mahoney, Large Text Compression Benchmark, mattmahoney.net/dc/textdata.html',
  options: {
    path: z.string().min(1).optional().describe('the file, plain or .gz, or its folder'),
    bytes: z.int().min(1).default(10_000_000).describe('how many of its first bytes are taken'),
    ...textOptions,
  },
  samples: [
    { path: 'test/fixtures/data/squares.txt', length: 32, batch: 3 },
    { path: 'test/fixtures/data/squares.txt', bytes: 9_000, length: 64, batch: 2, order: 'sequential' },
  ],
  async open({ path, bytes, length, tokenizer }, context) {
    const file = findFile({
      what: 'enwik8',
      path,
      names: [/^enwik8$/, /^enwik8\.gz$/, /^enwik8.*\.gz$/],
      called: 'enwik8, enwik8.gz or enwik8*.gz',
      folders: ['enwik8'],
      get:
        'get enwik8.zip from http://mattmahoney.net/dc/enwik8.zip and unpack it: enwik8 has ' +
        `100,000,000 bytes and the SHA-256 ${known[0]!.sha256}`,
    });
    const read = await readText(file, bytes);
    const text = tokenizer.kind === 'byte' ? read : wholeCharacters(read);
    const facts = { file, bytes: text.length, sha256: sha256(text), verified: verify(text) };
    return corpus(contiguous(text, tokenizer), { length, tokenizer, facts }, context);
  },
});

/** Is it enwik8, as far as the hashes that are known can tell? */
function verify(text: Uint8Array): string {
  const longest = known.find(({ bytes }) => text.length >= bytes);
  if (!longest) return `no: the hash of the first ${text.length} bytes is not known`;
  const same = sha256(text.subarray(0, longest.bytes)) === longest.sha256;
  return same ? `yes: the first ${longest.bytes} bytes are those of enwik8` : 'no: this is another text';
}
