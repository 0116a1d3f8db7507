/** WikiText: good articles of Wikipedia, raw or cut in words with rare ones replaced. */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { DataError } from '../runtime/errors.js';
import { contiguous, corpus, sha256, type Texts, textOptions, wholeCharacters } from './corpus.js';
import { defineData, type Split } from './data.js';
import { findFiles, findIfThere, locate, type Wanted } from './files.js';
import { readTexts } from './texts.js';

type Form = 'tokenised' | 'raw';

/** What the files call the splits. */
const called: Record<Split, string> = { train: 'train', val: 'valid', test: 'test' };

/** WikiText-2, tokenised: its training text is its own, the other two are those of WikiText-103 as well. */
const hashes: Record<Split, string> = {
  train: '9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f',
  val: 'f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8',
  test: 'd790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0',
};

/** `named`: the user named the folder, so that files without a word of WikiText in their names are meant as well. */
function wanted(split: Split, form: Form, path: string | undefined, named: boolean): Wanted {
  const name = called[split];
  const ending = form === 'raw' ? 'raw' : 'tokens';
  const raw = form === 'raw' ? '-raw' : '';
  const sets = [`wikitext-103${raw}`, `wikitext-2${raw}`];
  return {
    what: `WikiText (${form}, ${name})`,
    path,
    names: [
      new RegExp(`^wiki\\.${name}\\.${ending}(\\.gz)?$`),
      new RegExp(`^wikitext(-103|-2)?${raw}-${name}(\\.txt)?(\\.gz)?$`),
      // As the Hub has them, in a folder of their own, and as PyTorch's examples have them.
      new RegExp(`^${name}${name === 'valid' ? '(ation)?' : ''}-\\d+-of-\\d+\\.parquet$`),
      ...(named ? [new RegExp(`^${name}\\.txt(\\.gz)?$`)] : []),
    ],
    called: `wiki.${name}.${ending}, wikitext${raw}-${name}.txt or the same with .gz`,
    folders: ['wikitext', ...sets, ...sets.map((set) => `${set}-v1`)],
    get:
      form === 'raw'
        ? 'get wikitext-103-raw-v1.zip or wikitext-2-raw-v1.zip from https://wikitext.smerity.com and unpack it'
        : 'get wikitext-103-v1.zip or wikitext-2-v1.zip from https://wikitext.smerity.com and unpack it: ' +
          `wiki.valid.tokens has 1,121,681 bytes and the SHA-256 ${hashes.val}`,
  };
}

/** The Hub's files have one. */
const column = (file: string): string | undefined => (file.endsWith('.parquet') ? 'text' : undefined);

export const wikitextData = defineData({
  name: 'wikitext',
  doc: 'WikiText-2 or -103: good articles of Wikipedia, with the splits of its files',
  source: 'Merity et al. 2016, Pointer Sentinel Mixture Models, arXiv:1609.07843',
  options: {
    path: z.string().min(1).optional().describe('the folder of its files'),
    form: z
      .enum(['tokenised', 'raw'])
      .default('tokenised')
      .describe('cut in words, rare ones replaced by <unk>; or as the articles are'),
    by: z
      .enum(['contiguous', 'line'])
      .default('contiguous')
      .describe('rows are windows of the whole text, or lines: paragraphs and headings'),
    bytes: z.int().min(1).optional().describe('how many of the first bytes are trained on; default all'),
    ...textOptions,
  },
  samples: [
    { path: 'test/fixtures/data/wikitext', length: 32, batch: 3 },
    { path: 'test/fixtures/data/wikitext', length: 72, batch: 2, by: 'line' },
    { path: 'test/fixtures/data/wikitext', length: 24, batch: 2, tokenizer: { kind: 'bpe', vocab: 300 } },
  ],
  async open({ path, form, by, bytes, length, tokenizer }, context) {
    const cut = async (files: string[], limit?: number) => {
      const text = await readTexts(files, limit, column);
      return tokenizer.kind === 'byte' || limit === undefined ? text : wholeCharacters(text);
    };
    const given = path === undefined ? undefined : locate(path);
    if (given && statSync(given).isFile())
      throw new DataError(`${given} is a file, and WikiText is a folder of three`, {
        hint: `path: ${dirname(given)}; or data set text for one file`,
      });
    const val = findFiles(wanted('val', form, path, path !== undefined));
    // The splits of one folder: those of another may be of another version.
    const beside = (split: Split) => wanted(split, form, dirname(val[0]!), path !== undefined);
    const train = findIfThere(beside('train'));
    const options = { length, tokenizer, by };
    if (train.length === 0) {
      const text = await cut(val, bytes);
      const facts = {
        file: val.join(', '),
        ...origin({ val: text }),
        splits: `no ${called.train} file is there: the ${called.val} file is cut 90/5/5`,
      };
      return corpus(contiguous(text, tokenizer), { ...options, facts }, context);
    }
    const test = findFiles(beside('test'));
    const texts: Texts = { train: await cut(train, bytes), val: await cut(val), test: await cut(test) };
    const facts = {
      file: [...train, ...val, ...test].join(', '),
      ...origin(texts),
      splits: `of the files ${[train, val, test].map((f) => f.map((p) => basename(p)).join(' ')).join(', ')}`,
    };
    return corpus(texts, { ...options, facts }, context);
  },
});

/** The hash of what is trained on, or all that there is, and which of the texts are known to be WikiText's. */
function origin(texts: Partial<Texts>): { sha256: string; verified: string } {
  const found = (Object.keys(texts) as Split[]).map((split) => ({ split, hash: sha256(texts[split]!) }));
  const names = (list: typeof found) => list.map(({ split }) => called[split]).join(', ');
  const known = found.filter(({ split, hash }) => hash === hashes[split]);
  const others = found.filter(({ split, hash }) => hash !== hashes[split]);
  const verified = [
    ...(known.length > 0 ? [`yes: ${names(known)} of WikiText-2`] : []),
    ...(others.length > 0 ? [`no: the hash of ${names(others)} is not known`] : []),
  ];
  return { sha256: found[0]!.hash, verified: verified.join('; ') };
}
