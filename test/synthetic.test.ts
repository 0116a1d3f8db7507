/** Synthetic sets: rows are functions of seed, split and number; what they ask is what they say; chance is known. */
import { describe, expect, it } from 'vitest';
import { copyData } from '../src/data/copy.js';
import { type DataSet, IGNORED, type Row, type Split, splits } from '../src/data/data.js';
import { Draws } from '../src/data/draws.js';
import { analyticLadder } from '../src/data/ladder.js';
import { markovData } from '../src/data/markov.js';
import { match3Data } from '../src/data/match3.js';
import { MicroLanguages, SPECIALS } from '../src/data/micro-languages.js';
import { needleData } from '../src/data/needle.js';
import { openData } from '../src/data/registry.js';
import { ConfigError } from '../src/runtime/errors.js';

type Config = { name: string; length: number; batch: number; [option: string]: unknown };
const open = (config: Config, seed = 7) => openData(config as never, { seed });

function read(set: DataSet, length: number, split: Split, index: number): Required<Row> {
  const row = { ids: new Int32Array(length), labels: new Int32Array(length), truth: new Uint8Array(length) };
  set.read(split, index, 0, row);
  return row;
}

const mean = (values: readonly number[]) => values.reduce((sum, v) => sum + v, 0) / values.length;

const walked = [copyData, markovData, match3Data, needleData].flatMap((kind) =>
  kind.samples.map((sample) => ({ name: kind.name, ...sample }) as Config),
);

describe.each(walked)('$name %j', (config) => {
  const { length } = config;

  it('gives the same row at every call and every opening, in any order', async () => {
    const [one, other] = [await open(config), await open(config)];
    for (const split of splits) {
      const rows = [0, 1, 2, 3].map((index) => read(one, length, split, index));
      for (const index of [3, 1, 0, 2]) expect(read(other, length, split, index)).toEqual(rows[index]);
    }
  });

  it('keeps ids and labels below vocab, counts some, and tells facts', async () => {
    const set = await open(config);
    for (let index = 0; index < 50; index++) {
      const { ids, labels } = read(set, length, 'train', index % set.rows('train'));
      for (const id of ids) expect(id >= 0 && id < set.vocab).toBe(true);
      for (const label of labels) expect(label === IGNORED || (label >= 0 && label < set.vocab)).toBe(true);
      expect(labels.some((label) => label !== IGNORED)).toBe(true);
    }
    for (const fact of Object.values(set.facts()))
      expect(['string', 'number', 'boolean']).toContain(typeof fact);
  });
});

it.each<Config>([
  { name: 'copy', length: 64, batch: 1, form: 'half' },
  { name: 'match3', length: 64, batch: 1 },
  { name: 'needle', length: 64, batch: 1 },
  { name: 'markov', length: 64, batch: 1, vocab: 512, segment: 32, sequences: { train: 100, val: 100 } },
])('no row of $name is in two splits, at two places or under two seeds', async (config) => {
  const seen = new Set<string>();
  for (const seed of [1, 2, 2 ** 32 + 1]) {
    const set = await open(config.name === 'markov' ? { ...config, seed: seed * 10 } : config, seed);
    for (const split of splits)
      for (let index = 0; index < 60; index++) seen.add(read(set, 64, split, index).ids.join());
  }
  expect(seen.size).toBe(3 * 3 * 60);
});

it('rows are those of any other process: known ones come back', async () => {
  const first = async (config: Config) =>
    Array.from(read(await open(config), config.length, 'val', 5).ids.slice(0, 10));
  expect(await first({ name: 'copy', length: 10, batch: 1, form: 'half' })).toEqual([
    168, 219, 102, 173, 176, 168, 219, 102, 173, 176,
  ]);
  expect(await first({ name: 'markov', length: 64, batch: 1 })).toEqual([
    699, 432, 1673, 2846, 1807, 741, 1239, 2859, 737, 3467,
  ]);
});

it('draws are uniform', () => {
  const draws = new Draws(1, 2, 'train', 3);
  const counts = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) counts[draws.below(3)]!++;
  // 4.5 standard deviations
  for (const count of counts)
    expect(Math.abs(count - 10_000)).toBeLessThan(4.5 * Math.sqrt(30_000 * (2 / 9)));
  const orders = new Map<string, number>();
  for (let i = 0; i < 6000; i++) {
    const order = draws.distinct(3, 3).join();
    orders.set(order, (orders.get(order) ?? 0) + 1);
  }
  expect(orders.size).toBe(6);
  for (const count of orders.values())
    expect(Math.abs(count - 1000)).toBeLessThan(4.5 * Math.sqrt(6000 * (5 / 36)));
});

describe('copy', () => {
  it.each(['copy', 'all'])(
    'random, loss %s: what stands before the separator stands after it',
    async (loss) => {
      for (const length of [2, 9, 16]) {
        const set = await open({ name: 'copy', length, batch: 1, vocab: 20, loss });
        const lengths = new Set<number>();
        for (let index = 0; index < 200; index++) {
          const { ids, labels } = read(set, length, 'train', index);
          const n = ids.indexOf(19);
          lengths.add(n);
          const said = Array.from(ids.slice(0, n));
          // The row and the label of its last place, without padding.
          const whole = [...said, 19, ...said];
          const row = [...whole, ...Array(length).fill(19)].slice(0, length);
          expect(Array.from(ids)).toEqual(row);
          const expected = row.map((_, t) =>
            t < (loss === 'all' ? 0 : n) || t >= 2 * n ? IGNORED : whole[t + 1],
          );
          expect(Array.from(labels)).toEqual(expected);
        }
        expect(lengths.size).toBe(Math.floor(length / 2));
      }
    },
  );

  it.each(['copy', 'all'])('half, loss %s: the second half is the first', async (loss) => {
    for (const length of [2, 31, 32]) {
      const half = Math.ceil(length / 2);
      const set = await open({ name: 'copy', length, batch: 1, vocab: 50, form: 'half', loss });
      const { ids, labels } = read(set, length, 'train', 0);
      const whole = [...ids.slice(0, half), ...ids.slice(0, half)];
      expect(Array.from(ids)).toEqual(whole.slice(0, length));
      expect(Array.from(labels)).toEqual(
        Array.from(ids, (_, t) =>
          t < (loss === 'all' ? 0 : half - 1) ? IGNORED : (whole[t + 1] ?? IGNORED),
        ),
      );
    }
  });
});

describe('match3', () => {
  /** By trying every pair. */
  const answer = (x: readonly number[], M: number, i: number, end: number) =>
    x.some((a, j) => j < end && j !== i && x.some((b, k) => k < j && k !== i && (x[i]! + a + b) % M === 0));

  it('anywhere: labels are true, and as many are yes as no', async () => {
    for (const modulus of [undefined, 60, 400]) {
      const set = await open({ name: 'match3', length: 20, batch: 1, modulus });
      const M = set.vocab - 2;
      for (let index = 0; index < 50; index++) {
        const { ids, labels } = read(set, 20, 'train', index);
        const x = Array.from(ids);
        labels.forEach((label, i) => {
          if (label !== IGNORED) expect(label - M).toBe(answer(x, M, i, 20) ? 1 : 0);
        });
        const yes = labels.filter((label) => label === M + 1).length;
        expect(labels.filter((label) => label === M).length).toBe(yes);
      }
    }
  });

  it('causal: labels are true, and at every place half are yes', async () => {
    const set = await open({ name: 'match3', length: 20, batch: 1, causal: true });
    const M = set.vocab - 2;
    const yes = new Float64Array(20);
    for (let index = 0; index < 400; index++) {
      const { ids, labels } = read(set, 20, 'train', index);
      const x = Array.from(ids);
      expect(Array.from(labels.slice(0, 2))).toEqual([IGNORED, IGNORED]);
      for (let i = 2; i < 20; i++) {
        if (index < 50) expect(labels[i]! - M).toBe(answer(x, M, i, i) ? 1 : 0);
        yes[i]! += labels[i]! - M;
      }
    }
    for (let i = 2; i < 20; i++) expect(Math.abs(yes[i]! - 200)).toBeLessThan(4.5 * 10);
  });
});

it('needle: the labels are the values that stand beside the keys', async () => {
  const sizes = { pairs: 5, queries: 3, keys: 9, values: 7, filler: 4 };
  const set = await open({ name: 'needle', length: 30, batch: 1, ...sizes });
  const places = new Set<number>();
  for (let index = 0; index < 200; index++) {
    const { ids, labels } = read(set, 30, 'train', index);
    const hay = ids.indexOf(9 + 7 + 4);
    expect(hay).toBe(30 - (3 * 3 - 1));
    const values = new Map<number, number>();
    for (let t = 0; t < hay; t++)
      if (ids[t]! < 9) {
        values.set(ids[t]!, ids[t + 1]!);
        places.add(t);
      }
    expect(values.size).toBe(5);
    const asked: number[] = [];
    labels.forEach((label, t) => {
      if (label === IGNORED) return;
      expect(ids[t - 1]).toBe(20);
      expect(values.get(ids[t]!)).toBe(label);
      expect(ids[t + 1] ?? label).toBe(label);
      asked.push(ids[t]!);
    });
    expect(new Set(asked).size).toBe(3);
  }
  expect(places.size).toBe(30 - 8 - 1);
});

describe('markov', () => {
  const published = { name: 'markov', length: 512, batch: 64 };
  const sanity = {
    ...published,
    length: 256,
    vocab: 512,
    topics: 3,
    concentration: 100,
    sequences: { train: 20_000, val: 2000 },
  };

  it('its ladder is the published one', () => {
    const of = (config: object) =>
      Object.values(analyticLadder({ vocab: 4096, topics: 5, concentration: 5, length: 512, ...config })).map(
        (value: number) => value.toFixed(4),
      );
    expect(of({})).toEqual(['8.3178', '8.0107', '7.2819', '1.0359', '0.5553', '5.2462']);
    expect(of(sanity)).toEqual(['6.2383', '5.2406', '4.5168', '1.7215', '0.9803', '4.5596']);
  });

  /**
   * Entropies over sampled sequences: of the rows that they visit, whose mean is the entropy of the chain; of the mean
   * of these rows, which is the unigram of a topic; the part of tokens in their topic's own range, and the mean of its
   * probability. Tolerances are four standard errors, and for entropies what the formulas leave out: signatures, and
   * that the mean row of 169 tokens is not uniform. The entropy of a mean of n rows is 1/n too low.
   */
  it.each([
    { name: 'the published set', config: published, sequences: 6, bigram: 0.004, unigram: 0.004 },
    { name: 'the sanity check', config: sanity, sequences: 40, bigram: 0.02, unigram: 0.01 },
  ])('sampled sequences of $name have the entropies of the ladder', async (c) => {
    const set = await open(c.config);
    const facts = set.facts();
    const { vocab, length, topics, concentration } = {
      topics: 5,
      concentration: 5,
      vocab: 4096,
      ...c.config,
    };
    const languages = new MicroLanguages({ vocab, topics, concentration }, 42);
    const own = Math.floor((vocab - SPECIALS) / topics);
    const entropies: number[] = [];
    const unsigned: number[] = [];
    const inside: number[] = [];
    const masses: number[] = [];
    const sums = Array.from({ length: topics }, () => ({ row: new Float64Array(vocab - SPECIALS), n: 0 }));
    const entropy = (row: Float64Array) => -row.reduce((s, p) => s + (p > 0 ? p * Math.log(p) : 0), 0);
    for (let index = 0; index < c.sequences; index++) {
      const { ids, truth } = read(set, length, 'val', index);
      for (let t = 0; t < length; t++) {
        const topic = truth[t]!;
        const token = ids[t]! - SPECIALS;
        inside.push(Math.floor(token / own) === topic ? 1 : 0);
        if (t + 1 === length || truth[t + 1] !== topic) continue;
        const row = languages.row(topic, token);
        const h = entropy(row);
        entropies.push(h);
        masses.push(row.slice(topic * own, (topic + 1) * own).reduce((sum, p) => sum + p, 0));
        if (!languages.signature(topic).has(token)) unsigned.push(h);
        const sum = sums[topic]!;
        sum.n++;
        row.forEach((p, next) => {
          sum.row[next]! += p;
        });
      }
    }
    const unigrams = sums.map(({ row, n }) => entropy(row.map((p) => p / n)) + 1 / n);
    const near = (got: number, fact: string, tolerance: number) =>
      expect(Math.abs(got - (facts[fact] as number)), `${fact}: ${got}`).toBeLessThan(tolerance);
    near(Math.log(vocab), 'loss of guessing', 1e-12);
    near(mean(entropies), 'loss, pairs known', c.bigram);
    near(mean(unsigned), 'loss, pairs known', c.bigram / 2);
    near(Math.log(vocab) - mean(entropies), 'learnable gap', c.bigram);
    near(mean(unigrams), 'loss, topic known', c.unigram);
    const p = facts['topic from token alone'] as number;
    near(mean(inside), 'topic from token alone', 4 * Math.sqrt((p * (1 - p)) / inside.length));
    near(mean(masses), 'topic from token alone', 0.002);
  });

  it('rows are distributions, own tokens and signatures favoured; draws follow them', () => {
    const config = { vocab: 203, topics: 4, concentration: 5 };
    const languages = new MicroLanguages(config, 3);
    const plain = new MicroLanguages({ ...config, concentration: 1 }, 3);
    expect(languages.signature(1).size).toBe(25);
    let weighed = 0;
    for (let token = 0; token < 200; token += 7) {
      const row = languages.row(2, token);
      expect(row.reduce((s, p) => s + p, 0)).toBeCloseTo(1, 6);
      for (const next of [0, 31, 32, 99, 100, 149, 199])
        expect(languages.probability(2, token, next)).toBe(row[next]);
      const without = plain.row(2, token);
      for (const next of [10, 160]) {
        expect(without[next]! / without[next + 1]!).toBeCloseTo(row[next]! / row[next + 1]!, 6);
        expect(row[100]! / row[next]! / (without[100]! / without[next]!)).toBeCloseTo(5, 6);
        weighed++;
      }
    }
    expect(weighed).toBeGreaterThan(0);
    // A signature's weight is that of a Gamma(1/2), 10 times: 1/2 of the mean of the range without it.
    const ratios = [...languages.signature(0)].map(([token, next]) => {
      const row = languages.row(0, token);
      return row[next]! / (row.slice(0, 50).reduce((s, p, i) => s + (i === next ? 0 : p), 0) / 49);
    });
    expect(mean(ratios)).toBeGreaterThan(5);
    expect(mean(ratios)).toBeLessThan(20);
    for (const [token, next] of languages.signature(3))
      for (const end of [token, next]) expect(Math.floor(end / 50)).toBe(3);

    const draws = new Draws(5, 5, 'train', 0);
    const row = languages.row(1, 17);
    const counts = new Float64Array(200);
    const n = 40_000;
    for (let i = 0; i < n; i++) counts[languages.next(1, 17, draws.unit())]!++;
    const chi2 = row.reduce((s, p, i) => s + (n * p > 5 ? (counts[i]! - n * p) ** 2 / (n * p) : 0), 0);
    const freedom = row.filter((p) => n * p > 5).length - 1;
    expect(Math.abs(chi2 - freedom)).toBeLessThan(4.5 * Math.sqrt(2 * freedom));
    expect(languages.next(1, 17, 0)).toBe(0);
    expect(languages.next(1, 17, 1 - 2 ** -32)).toBeGreaterThan(195);
  });

  it('labels are the next ids, segments are long enough, topics are those asked for', async () => {
    const set = await open({ ...published, vocab: 203 });
    const segments = new Map<number, number>();
    const topics = new Set<number>();
    for (let index = 0; index < 12; index++) {
      const { ids, labels, truth } = read(set, 512, 'test', index);
      expect(Array.from(labels)).toEqual([...ids.slice(1), IGNORED]);
      expect(Math.min(...ids)).toBeGreaterThanOrEqual(SPECIALS);
      let start = 0;
      let count = 0;
      for (let t = 1; t <= 512; t++)
        if (t === 512 || truth[t] !== truth[start]) {
          expect(t - start).toBeGreaterThanOrEqual(64);
          topics.add(truth[start]!);
          start = t;
          count++;
        }
      segments.set(count, 1);
      expect(count).toBeLessThanOrEqual(5);
    }
    expect(segments.size).toBeGreaterThan(1);
    expect(topics.size).toBe(5);
  });

  it('keeps running sums, not tables', async () => {
    expect((await open(published)).facts()['bytes of row sums']).toBe(4 * 5 * 4093 * 128);
    const large = new MicroLanguages({ vocab: 32_768, topics: 8, concentration: 5 }, 1);
    expect(large.bytes).toBeLessThanOrEqual(2 ** 27);
    expect(large.row(7, 32_000).reduce((s, p) => s + p, 0)).toBeCloseTo(1, 6);
  });

  it('in topic order, rows are those of any order sorted by their dominant topic', async () => {
    const config = { ...sanity, length: 48, segment: 8, vocab: 64, sequences: { train: 120, val: 60 } };
    const shuffled = await open(config);
    const ordered = await open({ ...config, order: 'sequential', topicOrdered: true });
    const rows = (set: DataSet, split: Split, n: number) =>
      Array.from({ length: n }, (_, index) => read(set, 48, split, index));
    const dominant = ({ truth }: Row) => {
      const counts = [0, 0, 0];
      for (const topic of truth!) counts[topic]!++;
      return counts.indexOf(Math.max(...counts));
    };
    // Array.sort is stable.
    const expected = rows(shuffled, 'train', 120).sort((a, b) => dominant(a) - dominant(b));
    expect(rows(ordered, 'train', 120)).toEqual(expected);
    expect(new Set(expected.map(dominant)).size).toBe(3);
    expect(rows(ordered, 'val', 60)).toEqual(rows(shuffled, 'val', 60));
  });
});

it.each<[Config, string, RegExp]>([
  [{ name: 'copy', length: 1, batch: 1 }, 'data.length', /at least 2 places, got 1/],
  [{ name: 'match3', length: 2, batch: 1 }, 'data.length', /3 places, got 2/],
  [{ name: 'match3', length: 64, batch: 1, modulus: 7 }, 'data.modulus', /always yes.*M near 2955/s],
  [{ name: 'match3', length: 8, batch: 1, modulus: 1e6 }, 'data.modulus', /always no/],
  [{ name: 'needle', length: 64, batch: 1, pairs: 65 }, 'data.pairs', /65 pairs need as many keys, got 64/],
  [{ name: 'needle', length: 64, batch: 1, queries: 9 }, 'data.queries', /9 queries of 8 pairs/],
  [{ name: 'needle', length: 17, batch: 1 }, 'data.length', /take 18 places, got 17/],
  [{ name: 'markov', length: 32, batch: 1 }, 'data.segment', /64 tokens at least, and a row only 32/],
  [{ name: 'markov', length: 64, batch: 1, segments: [3, 2] }, 'data.segments', /from 3 to 2/],
  [{ name: 'markov', length: 64, batch: 1, vocab: 12 }, 'data.vocab', /set data.vocab to 13/],
  [{ name: 'markov', length: 64, batch: 1, topicOrdered: true }, 'data.topicOrdered', /order to sequential/],
])('%j cannot be: %s', async (config, path, message) => {
  const error = await open(config).catch((e) => e);
  expect(error).toBeInstanceOf(ConfigError);
  expect(error.path).toBe(path);
  expect(error.message).toMatch(message);
});
