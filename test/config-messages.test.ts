/** What is said of configurations that cannot be. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parse } from '../src/config/load.js';
import { problemsOf } from '../src/config/schema.js';
import { parseRunConfig } from '../src/train/run-config.js';
import { failure, refused, valid } from './support/config-files.js';

describe('what is wrong is said with its line and the nearest name', () => {
  const edit = (from: string, to: string) => valid.replace(from, to);

  it.each([
    [
      'a key of a union',
      edit('rank', 'rnak'),
      '11:5',
      /model\.attention\.rnak is unknown/,
      /'rank'\? Options of 'tt': .*shareCores/,
    ],
    [
      'a key of a group',
      edit('steps', 'stepz'),
      '13:3',
      /train\.stepz is unknown/,
      /'steps'\? Options of train/,
    ],
    ['a key at the top', edit('train', 'trian'), '12:1', /trian is unknown/, /'train'\? Options: name, seed/],
    [
      'a key of another place',
      edit('steps: 10', 'steps: 10\n  lr: 1e-3'),
      '14:3',
      /train\.lr is unknown/,
      /'train\.optimizer\.lr'/,
    ],
    [
      'the key that names a member',
      edit('name: copy', 'nmae: copy'),
      '2:3',
      /data\.nmae is unknown/,
      /'name'/,
    ],
    ['a prototype', `${valid}__proto__: 1\n`, '14:1', /__proto__ is unknown/, /Options/],
    ['an inherited name', `${valid}constructor: 1\n`, '14:1', /constructor is unknown/, /Options/],
    [
      'a kind',
      edit('kind: tt', 'kind: flsh'),
      '10:11',
      /kind is 'flsh', expected '.*'gla'.* or 'tt'/,
      /'flash'/,
    ],
    ['a data set', edit('name: copy', 'name: coppy'), '2:9', /data\.name is 'coppy'/, /'copy'/],
    ['a missing kind', edit('name: copy\n  ', ''), '1:1', /data\.name is missing/, /what is learned/],
    [
      'a missing value',
      edit('  steps: 10\n', '  clip: 1\n'),
      '12:1',
      /train\.steps is missing, expected a whole number of at least 1/,
      /updates/,
    ],
    [
      'a missing group',
      edit(valid.slice(valid.indexOf('train')), ''),
      '1:1',
      /train is missing/,
      /how it is trained/,
    ],
    ['a group without content', edit('\n  steps: 10', ''), '12:7', /train is null/, /how it is trained/],
    [
      'a text for a number',
      edit('10', 'many'),
      '13:10',
      /steps is 'many', expected a whole number/,
      /updates/,
    ],
    ['a quoted number', edit('10', "'10'"), '13:10', /steps is '10', expected a whole number/, /updates/],
    ['a fraction', edit('10', '1.5'), '13:10', /steps is 1.5, expected a whole number/, /updates/],
    ['a number out of range', edit('10', '0'), '13:10', /steps is 0, expected .*at least 1/, /updates/],
    ['a list for a number', edit('10', '[10]'), '13:10', /steps is \[10\]/, /updates/],
    [
      'a number for a group',
      edit('train:\n  steps: 10', 'train: 10'),
      '12:8',
      /train is 10, expected a group of options/,
      /how/,
    ],
    ['a truth for a text', `${valid}name: yes/no\n`, '14:7', /name is 'yes\/no', expected letters/, /folder/],
    ['not a number', edit('10', '.nan'), '13:10', /steps is NaN/, /updates/],
  ])('%s', (_, text, place, message, hint) => refused(text, `x.yaml:${place}`, message, hint));

  it('a list too short, and an entry of it', () => {
    const text = `${valid}  optimizer: { kind: adamw, betas: BETAS }\n`;
    refused(
      text.replace('BETAS', '[0.9]'),
      'x.yaml:14:36',
      /betas is \[0.9\], expected a list of 2/,
      /decay/,
    );
    refused(
      text.replace('BETAS', '[0.9, 1]'),
      'x.yaml:14:42',
      /betas\.1 is 1, expected a number of at least 0 and below 1/,
      /betas/,
    );
  });

  it.each([
    [
      'rope with odd heads',
      ['model.positions=rope', 'model.attention.headDim=5'],
      '--set model.positions=rope',
      /heads of 5 channels/,
      /even/,
    ],
    [
      'a rank above that of the modes',
      ['model.attention.rank=17'],
      '--set model.attention.rank=17',
      /model\.attention\.rank is 17/,
      /from 1 to 16/,
    ],
    [
      'heads that do not divide the channels',
      ['model.heads=5'],
      'x.yaml:7:8',
      /model\.dim is 32, heads is 5/,
      /multiple/,
    ],
    [
      'grouped keys where there are none',
      ['model.attention={ kind: holo, kvHeads: 2 }'],
      '--set model.attention={ kind: holo, kvHeads: 2 }',
      /model\.attention\.kvHeads is 2/,
      /as many heads/,
    ],
    [
      'a rotation of what has none',
      ['model.attention={ kind: hrr, causal: false }', 'model.positions=rope'],
      '--set model.positions=rope',
      /positions is 'rope'/,
      /./,
    ],
    [
      'a complex head of odd size',
      ['model.attention={ kind: holo, headDim: 5 }'],
      '--set model.attention={ kind: holo, headDim: 5 }',
      /headDim is 5/,
      /even/,
    ],
    [
      'tiles out of order',
      ['model.attention={ kind: tiled, minTile: 8, maxTile: 4 }'],
      '--set model.attention={ kind: tiled, minTile: 8, maxTile: 4 }',
      /minTile is 8/,
      /at most/,
    ],
    [
      'an MLP that a block cannot do without',
      ['model.block=axm', 'model.mlp=none'],
      '--set model.mlp=none',
      /model\.mlp is 'none'/,
      /./,
    ],
    [
      'a warm-up beyond the end',
      ['train.schedule.warmup=11'],
      '--set train.schedule.warmup=11',
      /warmup is 11, and steps 10/,
      /part/,
    ],
    [
      'a decay beyond the end',
      ['train.schedule.kind=wsd', 'train.schedule.warmup=5', 'train.schedule.decay=6'],
      '--set train.schedule.decay=6',
      /decay is 6/,
      /after the warm-up/,
    ],
    ['a decay of a cosine', ['train.schedule.decay=6'], '--set train.schedule.decay=6', /'cosine'/, /wsd/],
    [
      'patience without evaluations',
      ['train.earlyStop.patience=2'],
      '--set train.earlyStop.patience=2',
      /eval\.every 0/,
      /evaluations/,
    ],
    ['a copy of one token', ['data.length=1'], '--set data.length=1', /data\.length: a copy needs/, /longer/],
  ])('what cannot go together: %s', (_, sets, place, message, hint) =>
    refused(valid, place, message, hint, ...sets),
  );

  it('all problems are known, names that are misspelt first', () => {
    const schema = z.strictObject({
      steps: z.int(),
      lr: z.number(),
      kind: z.union([z.int(), z.literal('auto')]),
    });
    const problems = problemsOf(schema, { stepz: 1, lr: 'a', kind: 'atuo' });
    expect(problems.map(({ message }) => message)).toEqual([
      'stepz is unknown',
      'steps is missing, expected a whole number',
      "lr is 'a', expected a number",
      "kind is 'atuo', expected a whole number or 'auto'",
    ]);
    expect(problems[3]!.hint).toMatch(/did you mean 'auto'/);
  });

  it('without a file the path alone', () => {
    expect(failure(() => parseRunConfig({ name: 'x', modell: {} })).message).toMatch(
      /^modell is unknown\n.*'model'/,
    );
    expect(failure(() => parseRunConfig(undefined)).message).toMatch(/the configuration is missing/);
    expect(failure(() => parse(z.strictObject({ a: z.int() }), 3)).hint).toBe('Options: a');
  });
});
