/** Sequences of micro-languages: segments of tokens, each in the language of its topic, and which topic that was. */
import { z } from 'zod';
import { type DataConfig, defineData, IGNORED, type Split, splits } from './data.js';
import { Draws, impossible } from './draws.js';
import { analyticLadder } from './ladder.js';
import { MicroLanguages, SPECIALS } from './micro-languages.js';

const SEQUENCE = 0x6d61726b;

const count = z
  .int()
  .min(1)
  .max(2 ** 24);

const options = {
  vocab: z
    .int()
    .min(8)
    .max(2 ** 20)
    .default(4096)
    .describe('ids, three of which are special and never occur'),
  topics: z.int().min(1).max(255).default(5).describe('languages; each favours its own range of tokens'),
  concentration: z
    .number()
    .min(1e-6)
    .max(1e6)
    .default(5)
    .describe('how much more a token of its own range counts in a language'),
  segments: z
    .tuple([count, count])
    .default([2, 5])
    .describe('of a sequence, each with a topic: at least and at most'),
  segment: z.int().min(1).default(64).describe('tokens of a segment, at least'),
  sequences: z
    .strictObject({
      train: z
        .int()
        .min(1)
        .max(2 ** 31)
        .default(100_000)
        .describe('to train on'),
      val: z
        .int()
        .min(1)
        .max(2 ** 31)
        .default(10_000)
        .describe('to validate on, and as many to test on'),
    })
    .prefault({})
    .describe('rows of each split'),
  topicOrdered: z
    .boolean()
    .default(false)
    .describe('training rows sorted by their dominant topic; needs order: sequential'),
  seed: z
    .int()
    .min(0)
    .default(42)
    .describe('of the languages and of the training rows; validation takes the next'),
};

type MarkovConfig = DataConfig<typeof options>;

export const markovData = defineData({
  name: 'markov',
  doc: 'micro-languages: Markov chains of several topics in one sequence, with the topic of each token',
  source: 'github.com/Ja-Crispy/attention-clustering',
  options,
  samples: [
    { length: 32, batch: 2, vocab: 67, topics: 4, segment: 8, sequences: { train: 50, val: 10 } },
    {
      length: 24,
      batch: 2,
      vocab: 32,
      topics: 3,
      segment: 8,
      sequences: { train: 40, val: 10 },
      order: 'sequential',
      topicOrdered: true,
    },
  ],

  check,

  open(config) {
    const { vocab, topics, sequences, seed } = config;
    const languages = new MicroLanguages(config, seed);
    const sorted = config.topicOrdered ? byDominantTopic(config) : null;
    return {
      vocab,
      tokenizer: null,
      bytesPerToken: null,
      rows: (split) => (split === 'train' ? sequences.train : sequences.val),
      read(split, index, _epoch, { ids, labels, truth }) {
        const made = split === 'train' && sorted ? sorted[index]! : index;
        const draws = drawsOf(config, split, made);
        const plan = planOf(config, draws);
        // One step of a uniform token is a draw of the topic's mean row; the first id is a step from there.
        const first = plan[0]!.topic;
        let token = languages.next(first, draws.below(vocab - SPECIALS), draws.unit());
        let at = 0;
        for (const { topic, tokens } of plan)
          for (const end = at + tokens; at < end; at++) {
            token = languages.next(topic, token, draws.unit());
            ids[at] = token + SPECIALS;
            if (at > 0) labels[at - 1] = ids[at]!;
            if (truth) truth[at] = topic;
          }
        labels[at - 1] = IGNORED;
      },
      facts() {
        const ladder = analyticLadder(config);
        return {
          seed,
          topics,
          'loss of guessing': ladder.chance,
          'loss, topic known': ladder.topicUnigram,
          'loss, pairs known': ladder.bigram,
          'learnable gap': ladder.gap,
          'topic from token alone': ladder.probeCeiling,
          'entropy of uniform attention': ladder.uniformAttention,
          'bytes of row sums': languages.bytes,
        };
      },
    };
  },
});

function check({ length, segments, segment, vocab, topics, topicOrdered, order }: MarkovConfig): void {
  if (length < segment)
    throw impossible(
      'segment',
      `a segment has ${segment} tokens at least, and a row only ${length}`,
      `set data.segment to ${Math.max(1, Math.floor(length / segments[1]))}, or make rows longer`,
    );
  if (segments[0] > segments[1])
    throw impossible('segments', `from ${segments[0]} to ${segments[1]}`, 'write the smaller number first');
  if (vocab - SPECIALS < 2 * topics)
    throw impossible(
      'vocab',
      `${topics} topics need 2 tokens each and ${SPECIALS} special ones, got ${vocab}`,
      `set data.vocab to ${2 * topics + SPECIALS} at least`,
    );
  if (topicOrdered && order !== 'sequential')
    throw impossible('topicOrdered', 'a shuffled order undoes it', 'set data.order to sequential');
}

const drawsOf = ({ seed }: MarkovConfig, split: Split, index: number) =>
  new Draws(seed + splits.indexOf(split), SEQUENCE, split, index);

interface Segment {
  topic: number;
  tokens: number;
}

/**
 * The segments of a sequence: as many as are drawn, or as fit at their least length; what is left of the row goes
 * token by token to segments drawn uniformly.
 */
function planOf({ length, segments: [least, most], segment, topics }: MarkovConfig, draws: Draws): Segment[] {
  const drawn = least + draws.below(most - least + 1);
  const count = Math.min(drawn, Math.floor(length / segment));
  const plan = Array.from({ length: count }, () => ({ topic: draws.below(topics), tokens: segment }));
  for (let left = length - count * segment; left > 0; left--) plan[draws.below(count)]!.tokens++;
  return plan;
}

/** Training rows in the order of the topic that most of their tokens have, the lower of equals; stable. */
function byDominantTopic(config: MarkovConfig): Uint32Array {
  const rows = config.sequences.train;
  const dominant = new Uint8Array(rows);
  const starts = new Float64Array(config.topics + 1);
  for (let index = 0; index < rows; index++) {
    const tokens = new Array<number>(config.topics).fill(0);
    for (const part of planOf(config, drawsOf(config, 'train', index))) tokens[part.topic]! += part.tokens;
    dominant[index] = tokens.indexOf(Math.max(...tokens));
    starts[dominant[index]! + 1]!++;
  }
  for (let topic = 0; topic < config.topics; topic++) starts[topic + 1]! += starts[topic]!;
  const sorted = new Uint32Array(rows);
  for (let index = 0; index < rows; index++) sorted[starts[dominant[index]!]!++] = index;
  return sorted;
}
