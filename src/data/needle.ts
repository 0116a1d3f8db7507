/** Retrieval: pairs of key and value in filler, and at the end the keys whose values are asked for. */
import { z } from 'zod';
import { defineData, IGNORED } from './data.js';
import { Draws, impossible, MOST_IDS } from './draws.js';

const NEEDLE = 0x6e65656c;

export const needleData = defineData({
  name: 'needle',
  doc: 'keys and their values hidden in filler; the last places ask for the values of some keys',
  source: 'associative recall, Graves et al. 2014 and Arora et al. 2023, "Zoology"',
  options: {
    pairs: z.int().min(1).default(8).describe('of key and value in a row, no key twice'),
    queries: z.int().min(1).default(1).describe('keys asked for at the end, no key twice'),
    keys: z.int().min(1).max(MOST_IDS).default(64).describe('ids that are keys'),
    values: z.int().min(2).max(MOST_IDS).default(64).describe('ids that are values'),
    filler: z.int().min(1).max(MOST_IDS).default(64).describe('ids that mean nothing'),
    seed: z.int().min(0).optional().describe('of the tokens; the seed of the run where there is none'),
  },
  samples: [
    { length: 64, batch: 2 },
    { length: 24, batch: 2, pairs: 4, queries: 4, keys: 4, values: 2, filler: 1 },
  ],

  check({ length, pairs, queries, keys }) {
    if (pairs > keys)
      throw impossible('pairs', `${pairs} pairs need as many keys, got ${keys}`, `set data.keys to ${pairs}`);
    if (queries > pairs)
      throw impossible('queries', `${queries} queries of ${pairs} pairs`, `ask for ${pairs} at most`);
    const asked = askedOf(queries);
    if (length - asked < 2 * pairs)
      throw impossible(
        'length',
        `${pairs} pairs and ${queries} queries take ${2 * pairs + asked} places, got ${length}`,
        'make rows longer, or hide less in them',
      );
  },

  open({ length, pairs, queries, keys, values, filler, seed: own }, context) {
    const seed = own ?? context.seed;
    const hay = length - askedOf(queries);
    const marker = keys + values + filler;
    return {
      vocab: marker + 1,
      tokenizer: null,
      bytesPerToken: null,
      rows: () => Number.POSITIVE_INFINITY,
      read(split, index, _epoch, { ids, labels }) {
        const draws = new Draws(seed, NEEDLE, split, index);
        const shown = draws.distinct(pairs, keys);
        const answers = shown.map(() => keys + draws.below(values));
        labels.fill(IGNORED);
        for (let t = 0; t < hay; t++) ids[t] = keys + values + draws.below(filler);
        // Pairs in a row of hay - pairs places, each pair one place: every arrangement is as likely.
        const places = draws.distinct(pairs, hay - pairs).sort((a, b) => a - b);
        places.forEach((place, i) => {
          ids[place + i] = shown[i]!;
          ids[place + i + 1] = answers[i]!;
        });
        draws.distinct(queries, pairs).forEach((pair, q) => {
          const at = hay + 3 * q;
          ids[at] = marker;
          ids[at + 1] = shown[pair]!;
          labels[at + 1] = answers[pair]!;
          if (at + 2 < length) ids[at + 2] = answers[pair]!;
        });
      },
      facts: () => ({
        seed,
        'ids of keys': `0 to ${keys - 1}`,
        'ids of values': `${keys} to ${keys + values - 1}`,
        'ids of filler': `${keys + values} to ${marker - 1}`,
        'id that asks': marker,
        'accuracy of guessing': 1 / values,
        'loss of guessing': Math.log(values),
      }),
    };
  },
});

/** Places of queries: each is marker, key and answer, and the last answer is only a label. */
const askedOf = (queries: number): number => 3 * queries - 1;
