/** What was seen, said again: the least that attention has to do. */
import { z } from 'zod';
import { defineData, IGNORED, type Row } from './data.js';
import { Draws, impossible, MOST_IDS } from './draws.js';

const COPY = 0x636f7079;

export const copyData = defineData({
  name: 'copy',
  doc: 'random tokens and the same tokens again, which are to be predicted',
  source: 'Graves et al. 2014, "Neural Turing Machines"; half: induction, Olsson et al. 2022',
  options: {
    vocab: z
      .int()
      .min(2)
      .max(MOST_IDS)
      .default(256)
      .describe('ids; in form random the last one is the separator'),
    form: z
      .enum(['random', 'half'])
      .default('random')
      .describe(
        'random: sequences of any length that fits, a separator between; half: two halves of the row',
      ),
    loss: z
      .enum(['copy', 'all'])
      .default('copy')
      .describe('which tokens count: those of the copy alone, or all but the padding'),
    seed: z.int().min(0).optional().describe('of the tokens; the seed of the run where there is none'),
  },
  samples: [
    { length: 33, batch: 2 },
    { length: 32, batch: 2, vocab: 16, loss: 'all' },
    { length: 32, batch: 2, vocab: 16, form: 'half' },
    { length: 31, batch: 3, vocab: 2, form: 'half', loss: 'all' },
  ],

  check({ length }) {
    if (length < 2)
      throw impossible('length', `a copy needs at least 2 places, got ${length}`, 'make it longer');
  },

  open({ vocab, form, loss, seed: own }, context) {
    const seed = own ?? context.seed;
    const write = form === 'random' ? writeRandom : writeHalf;
    return {
      vocab,
      tokenizer: null,
      bytesPerToken: null,
      rows: () => Number.POSITIVE_INFINITY,
      read: (split, index, _epoch, into) =>
        write(new Draws(seed, COPY, split, index), vocab, loss === 'all', into),
      facts: () => ({
        form,
        seed,
        'loss of guessing': Math.log(form === 'random' ? vocab - 1 : vocab),
        'loss of copying': loss === 'copy' ? 0 : 'what is random costs as much as guessing, its copy nothing',
      }),
    };
  },
});

/** s_1 … s_n, separator, s_1 … s_n, padded with separators; n uniform in [1, T/2], so that 2n + 1 ids fit T places and a label. */
function writeRandom(draws: Draws, vocab: number, all: boolean, { ids, labels }: Row): void {
  const separator = vocab - 1;
  const n = 1 + draws.below(Math.floor(ids.length / 2));
  ids.fill(separator);
  labels.fill(IGNORED);
  for (let t = 0; t < n; t++) {
    const token = draws.below(separator);
    ids[t] = token;
    if (n + 1 + t < ids.length) ids[n + 1 + t] = token;
    labels[n + t] = token;
    if (all && t > 0) labels[t - 1] = token;
  }
  if (all) labels[n - 1] = separator;
}

/** h and h again, h of ⌈T/2⌉ tokens; where T is even, nothing follows the last. */
function writeHalf(draws: Draws, vocab: number, all: boolean, { ids, labels }: Row): void {
  const half = Math.ceil(ids.length / 2);
  labels.fill(IGNORED);
  for (let t = 0; t < half; t++) {
    const token = draws.below(vocab);
    ids[t] = token;
    if (half + t < ids.length) ids[half + t] = token;
    labels[half + t - 1] = token;
    if (all && t > 0) labels[t - 1] = token;
  }
}
