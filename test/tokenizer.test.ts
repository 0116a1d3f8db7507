/**
 * Tokenizers: the same ids as Hugging Face's, in Python (fixture) and in JavaScript; every text comes back; half a
 * character is never shown; damaged files are refused.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as library from '@huggingface/tokenizers';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { ArgumentError, type AttnError, DataError, FormatError } from '../src/runtime/errors.js';
import { BPETokenizer } from '../src/tokenizer/bpe.js';
import { trainBPE } from '../src/tokenizer/bpe-train.js';
import {
  makeTokenizer,
  readTokenizer,
  type Tokenizer,
  tokenizerFrom,
  tokenizerSchema,
  writeTokenizer,
} from '../src/tokenizer/index.js';
import { eachWord, wordBytes, wordPattern } from '../src/tokenizer/words.js';

interface Written {
  model: { vocab: Record<string, number>; merges: unknown; unk_token?: string | null };
  added_tokens: unknown[];
  pre_tokenizer: unknown;
  decoder: unknown;
}
const written = (tokenizer: Tokenizer) => structuredClone(tokenizer.toJSON()) as Written;

interface Case {
  tokenizer: Written;
  texts: { text: string; ids: number[]; decoded: string }[];
}
const fixture: { training: string; ours: Record<string, Case>; foreign: Record<string, Case> } = JSON.parse(
  readFileSync(new URL('fixtures/tokenizers.json', import.meta.url), 'utf8'),
);
const training = Buffer.from(fixture.training);
const configs = {
  byte: { kind: 'byte' },
  character: { kind: 'character' },
  bpe: { kind: 'bpe', vocab: 400 },
} as const;
type Kind = keyof typeof configs;
const kinds = Object.keys(configs) as Kind[];
const made = Object.fromEntries(
  kinds.map((kind) => [kind, makeTokenizer(configs[kind], training)]),
) as unknown as Record<Kind, Tokenizer>;

const folder = mkdtempSync(join(tmpdir(), 'attn-vk-tokenizer-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Of any code points but halves of surrogate pairs. */
const anyText = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0x7f }),
      fc.integer({ min: 0, max: 0xd7ff }),
      fc.integer({ min: 0xe000, max: 0x10ffff }),
    ),
    { maxLength: 20 },
  )
  .map((codes) => String.fromCodePoint(...codes));

/** What stream() gives for ids that come one by one, the end included. */
function streamed(tokenizer: Tokenizer, ids: Iterable<number>): string {
  const next = tokenizer.stream();
  let text = '';
  for (const id of ids) text += next(id);
  return text + next();
}

describe.each(kinds)('%s', (kind) => {
  const tokenizer = made[kind];
  const expected = fixture.ours[kind]!;

  it('learns what the fixture was made with, and gives the ids of the Python package', () => {
    const { model } = written(tokenizer);
    expect(model.vocab).toEqual(expected.tokenizer.model.vocab);
    expect(model.merges).toEqual(expected.tokenizer.model.merges);
    for (const { text, ids, decoded } of expected.texts) {
      expect(Array.from(tokenizer.encode(text))).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
  });

  it('gives the ids of the JavaScript package', () => {
    const other = new library.Tokenizer(tokenizer.toJSON(), { clean_up_tokenization_spaces: false });
    for (const { text } of expected.texts) {
      const { ids } = other.encode(text, { add_special_tokens: false });
      expect(ids).toEqual(Array.from(tokenizer.encode(text)));
      expect(other.decode(ids)).toBe(text);
    }
  });

  it('comes back from its own file, and from what Python wrote of it', () => {
    const path = join(folder, kind, 'tokenizer.json');
    writeTokenizer(path, tokenizer);
    for (const again of [readTokenizer(path), tokenizerFrom(expected.tokenizer)]) {
      expect(again).toBeInstanceOf(tokenizer.constructor);
      expect(again.vocab).toBe(tokenizer.vocab);
      expect(again.toJSON()).toEqual(tokenizer.toJSON());
      expect(again.encode(fixture.training)).toEqual(tokenizer.encode(fixture.training));
    }
  });

  it('gives every text back, whole and streamed', () => {
    fc.assert(
      fc.property(anyText, fc.nat(), (text, vocab) => {
        const one =
          kind === 'byte' || text === ''
            ? tokenizer
            : makeTokenizer({ ...configs[kind], vocab: 256 + (vocab % 40) } as never, Buffer.from(text));
        const ids = one.encode(text);
        expect(one.encode(Buffer.from(text))).toEqual(ids);
        expect(ids.every((id) => id >= 0 && id < one.vocab)).toBe(true);
        expect(one.decode(ids)).toBe(text);
        expect(streamed(one, ids)).toBe(text);
      }),
    );
  });

  it('refuses ids that it does not have', () => {
    for (const id of [-1, tokenizer.vocab, 0.5, Number.NaN])
      for (const call of [() => tokenizer.decode([id]), () => tokenizer.stream()(id)])
        expect(call).toThrow(ArgumentError);
  });
});

describe.each(['byte', 'bpe'] as const)('%s over bytes that are no UTF-8', (kind) => {
  const tokenizer = made[kind];

  it('streams what a decoder makes of them', () => {
    const bytes = fc.array(
      fc.oneof(
        fc.uint8Array({ maxLength: 4 }),
        anyText.map((text) => Buffer.from(text)),
      ),
    );
    fc.assert(
      fc.property(bytes, (parts) => {
        const all = Buffer.concat(parts);
        const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(all);
        const ids = tokenizer.encode(all);
        expect(tokenizer.decode(ids)).toBe(text);
        expect(streamed(tokenizer, ids)).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('never shows half a character', () => {
    const next = tokenizer.stream();
    const each = (bytes: number[]) => bytes.map((byte) => next(tokenizer.encode(Uint8Array.of(byte))[0]!));
    expect(each([0xe6, 0x97, 0xa5, 0x41])).toEqual(['', '', '日', 'A']);
    expect(each([0xf0, 0x9f, 0x90, 0x88])).toEqual(['', '', '', '🐈']);
    expect(each([0xe6, 0x97, 0x41])).toEqual(['', '', '\ufffdA']);
    expect(each([0xf0, 0x9f])).toEqual(['', '']);
    expect(next()).toBe('\ufffd');
    expect(next()).toBe('');
    expect(each([0x41])).toEqual(['A']);
  });
});

describe('words', () => {
  const words = (bytes: Uint8Array) => {
    const out: string[] = [];
    eachWord(bytes, (word) => out.push(word));
    return out;
  };

  it('keep every byte, whatever it is', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        expect(Buffer.concat(words(bytes).map(wordBytes)).equals(bytes)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('are the same in a text of several chunks', () => {
    const text = `${fixture.training}naïve  'tis 日本 \u3000x `.repeat(2000);
    expect(text.length).toBeGreaterThan(2 ** 21);
    const whole = text.match(new RegExp(wordPattern, 'gu'))!;
    let at = 0;
    let differ = 0;
    eachWord(Buffer.from(text), (word) => {
      if (word !== whole[at++]) differ++;
    });
    expect([at, differ]).toEqual([whole.length, 0]);
  });
});

describe('byte pairs', () => {
  /** Counts every pair of every word anew for each merge. */
  function slowly(text: string, vocab: number): [number, number][] {
    const sequences = text.match(new RegExp(wordPattern, 'gu'))!.map((word) => [...Buffer.from(word)]);
    const tokens = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
    const merges: [number, number][] = [];
    while (tokens.length < vocab) {
      const counts = new Map<string, number>();
      for (const s of sequences)
        for (let i = 1; i < s.length; i++) {
          const key = `${s[i - 1]} ${s[i]}`;
          counts.set(key, (counts.get(key) ?? 0) + 1);
        }
      const pairs = [...counts].map(([key, count]) => ({ pair: key.split(' ').map(Number), count }));
      pairs.sort((a, b) => b.count - a.count || a.pair[0]! - b.pair[0]! || a.pair[1]! - b.pair[1]!);
      const best = pairs[0];
      if (!best || best.count < 2) break;
      const [left, right] = best.pair as [number, number];
      const name = tokens[left]! + tokens[right]!;
      const id = tokens.includes(name) ? tokens.indexOf(name) : tokens.push(name) - 1;
      if (!merges.some(([l, r]) => l === left && r === right)) merges.push([left, right]);
      for (const s of sequences)
        for (let i = 0; i + 1 < s.length; i++) if (s[i] === left && s[i + 1] === right) s.splice(i, 2, id);
    }
    return merges;
  }

  it('are merged as counting anew each time would merge them', () => {
    const letters = fc.string({
      unit: fc.constantFrom('a', 'b', 'a', ' ', 'é'),
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(letters, fc.integer({ min: 256, max: 300 }), (text, vocab) => {
        const { merges } = trainBPE(Buffer.from(text), vocab);
        expect(merges.map(([left, right]) => [left, right])).toEqual(slowly(text, vocab));
      }),
      { numRuns: 300 },
    );
    const text = fixture.training.slice(0, 700);
    expect(trainBPE(Buffer.from(text), 330).merges.map(([l, r]) => [l, r])).toEqual(slowly(text, 330));
  });

  it('are merged in the order of the list, however long the word', () => {
    const { tokens, merges } = trainBPE(Buffer.from('abababcabcbcabba'.repeat(20)), 280);
    const tokenizer = new BPETokenizer(tokens, merges);
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 200 });
    fc.assert(
      fc.property(letters, (word) => {
        let ids: number[] = [...Buffer.from(word)];
        for (;;) {
          const ranks = ids.map((id, i) => merges.findIndex(([l, r]) => l === id && r === ids[i + 1]));
          const best = Math.min(...ranks.filter((rank) => rank >= 0));
          if (!Number.isFinite(best)) break;
          const at = ranks.indexOf(best);
          ids = [...ids.slice(0, at), merges[best]![2], ...ids.slice(at + 2)];
        }
        expect(Array.from(tokenizer.encode(word))).toEqual(ids);
      }),
    );
  });

  it('of long words are those of their characters', () => {
    const seen = new Set(Buffer.from('!😀 '));
    for (const before of ['!', '!!']) {
      const { tokens } = trainBPE(Buffer.from(`${before}${'😀'.repeat(150)} `.repeat(3)), 400);
      expect(tokens.length).toBeGreaterThan(256);
      for (const token of tokens.slice(256)) expect(token.every((byte) => seen.has(byte))).toBe(true);
    }
  });

  it('end where none recurs', () => {
    const tokenizer = makeTokenizer({ kind: 'bpe', vocab: 1000 }, Buffer.from('abab'));
    expect(tokenizer.vocab).toBe(257);
    expect(Array.from(tokenizer.encode('abab'))).toEqual([256, 256]);
  });

  it('may spell what objects inherit', () => {
    const json = JSON.stringify(made.bpe.toJSON()).replace('"vocab":{', '"vocab":{"__proto__":400,');
    const tokenizer = tokenizerFrom(JSON.parse(json));
    expect(tokenizer).toBeInstanceOf(BPETokenizer);
    expect(tokenizer.decode([400])).toBe('__proto__');
    expect(tokenizerFrom(JSON.parse(JSON.stringify(tokenizer.toJSON()))).decode([400])).toBe('__proto__');
    const text = '__proto__ constructor';
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
});

describe('foreign tokenizer.json', () => {
  it.each(Object.entries(fixture.foreign))(
    '%s: ids and text of the Python package',
    (_, { tokenizer, texts }) => {
      const one = tokenizerFrom(tokenizer);
      expect(one.kind).toBe('file');
      for (const { text, ids, decoded } of texts) {
        expect(Array.from(one.encode(text))).toEqual(ids);
        expect(one.decode(ids)).toBe(decoded);
        expect(streamed(one, ids)).toBe(decoded);
      }
      expect(one.vocab).toBeGreaterThan(Math.max(...texts.flatMap(({ ids }) => ids)));
      expect(one.toJSON()).toEqual(tokenizer);
      expect(one.decode([])).toBe('');
      expect(() => one.decode([one.vocab])).toThrow(ArgumentError);
      const next = one.stream();
      expect(() => next(one.vocab)).toThrow(ArgumentError);
      expect(texts[0]!.ids.map((id) => next(id)).join('') + next()).toBe(texts[0]!.decoded);
    },
  );

  it('is what kind file reads', () => {
    const path = join(folder, 'words.json');
    const { tokenizer, texts } = fixture.foreign.words!;
    writeFileSync(path, JSON.stringify(tokenizer));
    const one = makeTokenizer(tokenizerSchema.parse({ kind: 'file', path }), new Uint8Array());
    expect(Array.from(one.encode(texts[0]!.text))).toEqual(texts[0]!.ids);
  });

  it('with other ids than those written here is not taken for one of them', () => {
    const characters = written(made.character);
    const most = Math.max(...Object.values(characters.model.vocab));
    characters.model.vocab['\u{10ffff}'] = most + 5; // ids between have no token
    const sparse = tokenizerFrom(characters);
    expect(sparse.vocab).toBe(most + 6);
    expect(sparse.decode([0, most + 5])).toHaveLength(3);
    expect(() => sparse.decode([most + 1])).toThrow(/ids of tokens/);
    expect(JSON.stringify(sparse.toJSON())).toBe(JSON.stringify(characters));
    const bytes = written(made.byte);
    bytes.model.vocab.ab = 256;
    expect(tokenizerFrom(bytes)).toMatchObject({ kind: 'file', vocab: 257 });
  });

  it('that the library would misread is refused', () => {
    const { tokenizer } = structuredClone(fixture.foreign.gpt2!);
    const model = { ...tokenizer.model, continuing_subword_prefix: '##' };
    expect(() => tokenizerFrom({ ...tokenizer, model })).toThrow(/continuing_subword_prefix "##"/);
    const split = { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithNext', invert: false };
    for (const pre_tokenizer of [split, { type: 'Sequence', pretokenizers: [split] }])
      expect(() => tokenizerFrom({ ...tokenizer, pre_tokenizer })).toThrow(/behavior "MergedWithNext"/);
  });

  it('without a token for what is unknown refuses it', () => {
    const { tokenizer } = structuredClone(fixture.foreign.words!);
    delete tokenizer.model.vocab['[UNK]'];
    tokenizer.added_tokens = [];
    tokenizer.model.unk_token = null;
    expect(() => tokenizerFrom(tokenizer).encode('ships zzz')).toThrow(/zzz.*not in the vocabulary/s);
  });
});

describe('bad input', () => {
  const bpe = () => written(made.bpe);
  const rename = (vocab: Record<string, number>, from: string, to: string) => {
    vocab[to] = vocab[from]!;
    delete vocab[from];
  };
  const changed = (change: (json: Written) => unknown) => {
    const json = bpe();
    change(json);
    return json;
  };

  it.each<[string, unknown, RegExp]>([
    ['a number', 3, /expected object/],
    ['null', null, /expected object/],
    ['no model', {}, /added_tokens/],
    ['a model of nothing', { added_tokens: [], model: {} }, /model\.vocab/],
    ['an empty vocabulary', { added_tokens: [], model: { type: 'BPE', vocab: {}, merges: [] } }, /empty/],
    ['an id that is none', changed((j) => (j.model.vocab.a = -1)), /model\.vocab/],
    ['an id twice', changed((j) => (j.model.vocab.a = j.model.vocab.b!)), /both have id 98/],
    ['an id left out', changed((j) => (j.model.vocab.a = 5000)), /no token has id 97/],
    ['a merge of three', changed((j) => (j.model.merges = ['a b c'])), /no pair/],
    ['a merge of one', changed((j) => (j.model.merges = [['a', '']])), /no pair/],
    ['a merge of strangers', changed((j) => (j.model.merges = [['quux', 'a']])), /"quux", which is no token/],
    ['a merge to nothing', changed((j) => (j.model.merges = [['a', '~']])), /"a~", which is no token/],
    ['a byte left out', changed((j) => rename(j.model.vocab, '!', '!!')), /"!", a byte, is no token/],
    ['merges that are no list', changed((j) => (j.model.merges = 'a b')), /model\.merges/],
    ['a pre-tokenizer unheard of', changed((j) => (j.pre_tokenizer = { type: 'Magic' })), /Magic/],
    [
      'steps that are none',
      changed((j) => (j.pre_tokenizer = { type: 'Sequence', pretokenizers: [null] })),
      /./,
    ],
    ['a decoder unheard of', changed((j) => (j.decoder = { type: 'Magic' })), /Magic/],
  ])('%s is no tokenizer', (_, json, message) => {
    let error: unknown;
    try {
      tokenizerFrom(json, 'somewhere/tokenizer.json');
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(FormatError);
    expect((error as AttnError).message).toMatch(/^somewhere\/tokenizer\.json is no tokenizer\.json/);
    expect((error as AttnError).message).toMatch(message);
  });

  it('of any kind is refused by name, or read: nothing else is thrown', () => {
    fc.assert(
      fc.property(
        fc.json(),
        fc.constantFrom('model', 'decoder', 'pre_tokenizer', 'added_tokens'),
        (text, key) => {
          try {
            tokenizerFrom({ ...bpe(), [key]: JSON.parse(text) });
          } catch (error) {
            expect(error).toBeInstanceOf(FormatError);
          }
        },
      ),
    );
  });

  it('a file that is not there, or is cut short', () => {
    expect(() => readTokenizer(join(folder, 'none.json'))).toThrow(DataError);
    const path = join(folder, 'short.json');
    writeFileSync(path, JSON.stringify(bpe()).slice(0, 1000));
    expect(() => readTokenizer(path)).toThrow(FormatError);
    writeFileSync(path, Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0));
    expect(() => readTokenizer(path)).toThrow(FormatError);
  });

  it('a character unheard of: which, and where', () => {
    const tokenizer = makeTokenizer({ kind: 'character' }, Buffer.from('abc\n 🐈'));
    expect(tokenizer.vocab).toBe(6);
    expect(() => tokenizer.encode('a🐈\ncé')).toThrow(
      /"é" \(U\+00E9\) at place 4 \(line 2, column 2\) is not among the 6 characters/,
    );
    expect(() => tokenizer.encode('\ud800')).toThrow(/U\+D800/);
    expect(() => tokenizer.encode(Uint8Array.of(0x61, 0xff))).toThrow(DataError);
  });

  it('no text to learn from, or none that is text', () => {
    for (const kind of ['character', 'bpe'] as const)
      expect(() => makeTokenizer(configs[kind], new Uint8Array())).toThrow(/empty/);
    expect(() => makeTokenizer(configs.character, Uint8Array.of(0xc0, 0x80))).toThrow(DataError);
    expect(made.byte.encode('').length).toBe(0);
    expect(made.bpe.encode('').length).toBe(0);
    expect(made.bpe.decode([])).toBe('');
  });

  it('configurations that name no tokenizer', () => {
    for (const bad of [{}, { kind: 'word' }, { kind: 'bpe' }, { kind: 'bpe', vocab: 255 }, { kind: 'file' }])
      expect(tokenizerSchema.safeParse(bad).success).toBe(false);
    expect(tokenizerSchema.safeParse({ kind: 'byte', vocab: 256 }).success).toBe(false);
  });
});
