/**
 * Match3: does the token at each place sum with two others to 0 modulo M? Pairwise attention needs width or depth that
 * grows with the length for it; attention over triples needs one head.
 */
import { z } from 'zod';
import { defineData, IGNORED, type Row } from './data.js';
import { Draws, impossible, MOST_IDS } from './draws.js';

const MATCH = 0x6d617463;
/** Rows are drawn again until they have both answers. */
const ATTEMPTS = 1000;

export const match3Data = defineData({
  name: 'match3',
  doc: 'at each place: do two other tokens sum with this one to 0 modulo M? As many yes as no are counted',
  source: 'Sanford, Hsu and Telgarsky 2023, "Representational Strengths and Limitations of Transformers"',
  labels: 'answers',
  options: {
    modulus: z
      .int()
      .min(3)
      .max(MOST_IDS)
      .optional()
      .describe(
        'M: tokens are 0 to M-1. Default: T² / (2 ln 2), of which half the answers are yes; causal: T²',
      ),
    causal: z.boolean().default(false).describe('the two others come before; else they may stand anywhere'),
    seed: z.int().min(0).optional().describe('of the tokens; the seed of the run where there is none'),
  },
  samples: [
    { length: 24, batch: 2 },
    { length: 24, batch: 2, causal: true },
    { length: 16, batch: 2, modulus: 101 },
    { length: 16, batch: 2, modulus: 37, causal: true },
  ],

  check(config) {
    const { length, causal } = config;
    if (length < 3) throw impossible('length', `a triple needs 3 places, got ${length}`, 'make rows longer');
    const M = modulusOf(config);
    if (M > MOST_IDS)
      throw impossible(
        'modulus',
        `the default for ${length} tokens is M = ${M}, above ${MOST_IDS}`,
        'give one, or make rows shorter',
      );
    if (!causal) checkBothOccur(length, M);
  },

  open({ length, modulus, causal, seed: own }, context) {
    const seed = own ?? context.seed;
    const M = modulusOf({ length, modulus, causal });
    const write = causal ? writeCausal : writeAnywhere;
    return {
      vocab: M + 2,
      tokenizer: null,
      bytesPerToken: null,
      rows: () => Number.POSITIVE_INFINITY,
      read: (split, index, _epoch, into) => write(new Draws(seed, MATCH, split, index), M, into),
      facts: () => ({
        seed,
        modulus: M,
        'label no': M,
        'label yes': M + 1,
        'accuracy of guessing': 0.5,
        'loss of guessing': Math.LN2,
      }),
    };
  },
});

const modulusOf = ({ length, modulus, causal }: { length: number; modulus?: number; causal: boolean }) =>
  modulus ?? Math.max(3, Math.round(causal ? length ** 2 : length ** 2 / (2 * Math.LN2)));

/**
 * Of tokens drawn uniformly, a place is no with probability about exp(-T² / 2M): pairs of others, each of which
 * completes it with probability 1/M.
 */
function checkBothOccur(length: number, M: number): void {
  const no = Math.exp(-((length - 1) * (length - 2)) / (2 * M));
  const rarer = length * Math.min(no, 1 - no);
  if (rarer >= 0.1) return;
  const most = Math.round(length ** 2 / (2 * Math.LN2));
  throw impossible(
    'modulus',
    `with M = ${M} and ${length} tokens the answer is ${no < 0.5 ? 'always yes' : 'always no'}`,
    `take M near ${Math.max(3, most)}, or another length`,
  );
}

/** Tokens drawn uniformly; of the commoner answer as many places are counted as there are of the other. */
function writeAnywhere(draws: Draws, M: number, { ids, labels }: Row): void {
  const answers = new Uint8Array(ids.length);
  let yes = 0;
  for (let attempt = 0; attempt < ATTEMPTS && (yes === 0 || yes === ids.length); attempt++) {
    for (let i = 0; i < ids.length; i++) ids[i] = draws.below(M);
    yes = matches(ids, M, answers);
  }
  labels.fill(IGNORED);
  for (const answer of [0, 1]) {
    const places = [...answers.keys()].filter((i) => answers[i] === answer);
    const counted = Math.min(yes, ids.length - yes);
    for (const k of draws.distinct(counted, places.length)) labels[places[k]!] = M + answer;
  }
}

/** Writes to answers whether x_i + x_j + x_k ≡ 0 for some j < k other than i, and gives how many are. */
function matches(x: Int32Array, M: number, answers: Uint8Array): number {
  const tokens = new Int32Array(M);
  const pairs = new Int32Array(M);
  for (let k = 0; k < x.length; k++) {
    for (let j = 0; j < k; j++) pairs[(x[j]! + x[k]!) % M]!++;
    tokens[x[k]!]!++;
  }
  let yes = 0;
  for (let i = 0; i < x.length; i++) {
    const own = x[i]!;
    // Pairs that i itself is in: its partner k has x_k ≡ -2 x_i.
    const partner = (2 * M - 2 * own) % M;
    const ownPairs = tokens[partner]! - (partner === own ? 1 : 0);
    answers[i] = pairs[(M - own) % M]! > ownPairs ? 1 : 0;
    yes += answers[i]!;
  }
  return yes;
}

/**
 * Each place tosses a coin for its answer and draws a token that has it, uniformly: chance is 1/2 at every place. Not
 * counted are the first two places, and those where every token has the same answer.
 */
function writeCausal(draws: Draws, M: number, { ids, labels }: Row): void {
  /** Tokens that two before complete, as a list and as flags. */
  const list: number[] = [];
  const complete = new Uint8Array(M);
  for (let i = 0; i < ids.length; i++) {
    const counted = list.length > 0 && list.length < M;
    const yes = draws.below(2);
    let token = counted && yes ? list[draws.below(list.length)]! : draws.below(M);
    while (counted && !yes && complete[token]) token = draws.below(M);
    ids[i] = token;
    labels[i] = counted ? M + yes : IGNORED;
    for (let j = 0; j < i; j++) {
      const third = (2 * M - token - ids[j]!) % M;
      if (!complete[third]) list.push(third);
      complete[third] = 1;
    }
  }
}
