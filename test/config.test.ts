/** Configurations: YAML that knows its lines, `extends`, `--set`, and what is said of whatever cannot be. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { load, parse } from '../src/config/load.js';
import { problemsOf } from '../src/config/schema.js';
import type { ConfigError } from '../src/runtime/errors.js';
import { loadRunConfig, parseRunConfig } from '../src/train/run-config.js';
import { scratch } from './support/cli.js';
import { expectTyped } from './support/errors.js';

const valid = `data:
  name: copy
  length: 64
  batch: 4
model:
  layers: 1
  dim: 32
  heads: 4
  attention:
    kind: tt
    rank: 4
train:
  steps: 10
`;

let home: string;
const before = process.cwd();
beforeEach(() => {
  home = scratch();
  process.chdir(home);
});
afterEach(() => process.chdir(before));

/** Files of the test, by their paths; the first is the one that is loaded. */
function loading(files: Record<string, string | Uint8Array>, ...sets: string[]) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(home, dirname(name)), { recursive: true });
    writeFileSync(join(home, name), text);
  }
  return loadRunConfig(Object.keys(files)[0]!, { sets });
}

function failure(fn: () => unknown): ConfigError {
  try {
    fn();
  } catch (error) {
    return expectTyped(error, { code: 'ATTN_CONFIG' }) as ConfigError;
  }
  throw new Error('expected a ConfigError');
}

/** What loading the text says, and that it says where. */
function refused(text: string, place: string, message: RegExp, hint: RegExp, ...sets: string[]): void {
  const error = failure(() => loading({ 'x.yaml': text }, ...sets));
  expect(error.what).toMatch(message);
  expect(error.hint).toMatch(hint);
  expect(error.message.startsWith(`${place}: `), `${error.message} at ${place}`).toBe(true);
  const [file, line, column] = place.split(':');
  if (file === 'x.yaml') expect(error).toMatchObject({ file, line: Number(line), column: Number(column) });
}

describe('YAML', () => {
  it('becomes a run with every default filled in, named as its file', () => {
    const config = loading({ 'first.yaml': valid });
    expect(config).toMatchObject({ name: 'first', seed: 0 });
    expect(config.model.attention).toMatchObject({ kind: 'tt', rank: 4, causal: true });
    expect(config.train.optimizer).toMatchObject({ kind: 'adamw', lr: 1e-3, betas: [0.9, 0.95] });
    expect(config.data).toMatchObject({ order: 'shuffled', vocab: 256 });
  });

  it('takes numbers with underscores, and exponents', () => {
    const config = loading({ 'x.yaml': valid }, 'seed=1_000_000', 'train.steps=1e3');
    expect(config).toMatchObject({ seed: 1_000_000, train: { steps: 1000 } });
    refused(`${valid}seed: 1_\n`, 'x.yaml:14:7', /seed is '1_'/, /seed: of parameters/);
  });

  it.each([
    ['a key given twice', `${valid}  steps: 3\n`, '14:3', /given twice/],
    ['a key of a flow given twice', `seed: 1\ntrain: { steps: 1, steps: 2 }\n`, '2:20', /given twice/],
    ['a tab', 'train:\n\tsteps: 1\n', '2:1', /tab/],
    ['an anchor', 'seed: &a 1\n', '1:10', /anchors/],
    ['an anchor of a group', 'train: &a\n  steps: 1\n', '2:3', /anchors/],
    ['an alias', 'seed: *a\n', '1:7', /anchors/],
    ['a tag', 'seed: !int 1\n', '1:7', /no YAML: .*!int/],
    ['an open bracket', 'train: [1\n', '2:1', /no YAML/],
    ['two documents', `${valid}---\nseed: 1\n`, '14:1', /several documents/],
    ['a key that is a list', '[a]: 1\n', '1:1', /no name/],
    ['a list', '- 1\n', '1:1', /no group of options/],
    ['a text', 'copy\n', '1:1', /no group of options/],
  ])('is refused for %s', (_, text, place, message) => refused(text, `x.yaml:${place}`, message, /./));

  it.each([
    ['empty', '', /empty/],
    ['comments alone', '# nothing\n', /empty/],
    ['binary', Uint8Array.of(0x50, 0, 0x51), /no text/],
    ['not UTF-8', Uint8Array.of(0xff, 0xfe, 0x41), /no text/],
  ])('is refused where the file is %s', (_, bytes, message) => {
    const error = failure(() => loading({ 'x.yaml': bytes }));
    expect(error.what).toMatch(message);
    expect(error.file).toBe('x.yaml');
  });

  it('is refused where there is no file, with the nearest name', () => {
    loading({ 'configs/copy.yaml': valid });
    expect(failure(() => loadRunConfig('configs/copi.yaml')).message).toMatch(
      /configs\/copi\.yaml: there is no such file\n {2}hint: did you mean 'configs\/copy\.yaml'\?/,
    );
    expect(failure(() => loadRunConfig('configs')).what).toMatch(/folder/);
    mkdirSync('configs/copy.d.yaml');
    expect(failure(() => loadRunConfig('configs/copy.d.yaml')).hint).toContain("'configs/copy.yaml'");
    expect(failure(() => loadRunConfig('nowhere/x.yaml')).what).toMatch(/no such file/);
  });
});

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

describe('extends', () => {
  it('lays a file upon others, in their order, relative to each', () => {
    const config = loading({
      'runs/x.yaml': 'extends: [../base/a.yaml, ../base/b.yaml]\ntrain: { steps: 5 }\n',
      'base/a.yaml': valid,
      'base/b.yaml': 'extends: deep/c.yaml\nseed: 2\nmodel: { layers: 2 }\n',
      'base/deep/c.yaml': 'seed: 3\nmodel: { layers: 3, mlp: silu }\n',
    });
    expect(config).toMatchObject({ name: 'x', seed: 2, train: { steps: 5 } });
    expect(config.model).toMatchObject({ layers: 2, mlp: 'silu', dim: 32, attention: { rank: 4 } });
  });

  it('replaces a group by one of another kind, and changes one of the same', () => {
    const upon = (text: string) => loading({ 'x.yaml': `extends: base.yaml\n${text}`, 'base.yaml': valid });
    expect(upon('model: { attention: { kind: holo } }').model.attention).not.toHaveProperty('rank');
    expect(upon('model: { attention: { kind: tt, window: 3 } }').model.attention).toMatchObject({
      rank: 4,
      window: 3,
    });
    expect(upon('model: { attention: { window: 3 } }').model.attention).toMatchObject({
      kind: 'tt',
      rank: 4,
    });
    // A kind that is told by default is replaced as well.
    const muon = upon('train: { optimizer: { lr: 1 } }');
    expect(muon.train.optimizer).toMatchObject({ kind: 'adamw', lr: 1 });
  });

  it('completes a group that left its kind open', () => {
    const open = valid.replace('  name: copy\n', '');
    const config = loading({ 'x.yaml': 'extends: base.yaml\ndata: { name: copy }\n', 'base.yaml': open });
    expect(config.data).toMatchObject({ name: 'copy', length: 64 });
  });

  it('says in which file something is wrong', () => {
    const error = failure(() =>
      loading({ 'x.yaml': 'extends: base.yaml\nseed: 1\n', 'base.yaml': valid.replace('rank', 'rnak') }),
    );
    expect(error).toMatchObject({ file: 'base.yaml', line: 11, column: 5, path: 'model.attention.rnak' });
  });

  it.each([
    ['itself', 'extends: x.yaml\n', {}, '1:10', /circle: x\.yaml → x\.yaml/],
    [
      'a file that extends it',
      'extends: a.yaml\n',
      { 'a.yaml': 'seed: 1\nextends: ./x.yaml\n' },
      '',
      /circle: x\.yaml → a\.yaml → x\.yaml/,
    ],
    [
      'what is not there',
      'extends: [a.yml, b.yaml]\n',
      { 'a.yaml': valid },
      '1:11',
      /a\.yml: there is no such file/,
    ],
    ['a number', 'extends: 3\n', {}, '1:10', /extends is 3/],
    ['nothing', 'extends:\n', {}, '1:9', /extends is null/],
  ])('refuses %s', (_, text, others, place, message) => {
    const error = failure(() => loading({ 'x.yaml': text, ...(others as Record<string, string>) }));
    expect(error.what).toMatch(message);
    if (place) expect(`${error.line}:${error.column}`).toBe(place);
    else expect(error).toMatchObject({ file: 'a.yaml', line: 2 });
  });
});

describe('--set', () => {
  const set = (...sets: string[]) => loading({ 'x.yaml': valid }, ...sets);

  it('changes values, groups, entries of lists, and what the file does not say', () => {
    expect(set('train.steps=3', 'train.steps=4').train.steps).toBe(4);
    expect(set('train.optimizer.betas.1=0.99').train.optimizer).toMatchObject({ betas: [0.9, 0.99] });
    expect(set('train.schedule={ kind: linear }').train.schedule).toMatchObject({
      kind: 'linear',
      warmup: 0,
    });
    expect(set('model.attention.modes=[4, 8]').model.attention).toMatchObject({ modes: [4, 8] });
    expect(set('model.attention.modes=[4, 4]', 'model.attention.modes.1=8').model.attention).toMatchObject({
      modes: [4, 8],
    });
    expect(set('device=1').device).toBe('1');
    expect(set('name=a=b'.replace('=b', '-b')).name).toBe('a-b');
  });

  it('names another kind, and what it takes, in either order', () => {
    const rank = ['model.attention.kind=tpa', 'model.attention.kvOnly=true'];
    for (const sets of [rank, [...rank].reverse()])
      expect(set(...sets).model.attention).toMatchObject({ kind: 'tpa', kvOnly: true });
    expect(set(...rank).model.attention).not.toHaveProperty('rank');
    expect(set('train.optimizer.kind=muon', 'train.optimizer.adamw.lr=1').train.optimizer).toMatchObject({
      kind: 'muon',
      adamw: { lr: 1 },
    });
  });

  it.each([
    ['model.attention.rnak=3', /model\.attention\.rnak does not exist/, /'model\.attention\.rank'/],
    ['train.lr=3e-4', /train\.lr does not exist/, /'train\.optimizer\.lr'/],
    ['steps=3', /steps does not exist/, /'train\.steps'/],
    ['trian.steps=3', /trian\.steps does not exist/, /'train\.steps'/],
    ['train.steps.0=3', /train\.steps\.0 does not exist/, /train\.steps/],
    ['train.optimizer.momentum=0', /momentum does not exist/, /train\.optimizer\./],
    ['train.optimizer.betas.2=0', /betas\.2 does not exist/, /betas/],
    ['model.attention.modes.3=2', /modes\.3 is beyond the end of a list of 0/, /first entry is 0/],
    ['train.steps=many', /train\.steps is 'many'/, /updates/],
    ['train.steps=', /train\.steps is null/, /updates/],
    ['train.steps=[1', /no YAML/, /./],
    ['train.steps', /no assignment/, /--set train\.steps=100/],
    ['=3', /no assignment/, /--set/],
    ['train..steps=3', /no assignment/, /--set/],
  ])('refuses %s', (assignment, message, hint) =>
    refused(valid, `--set ${assignment}`, message, hint, assignment),
  );
});

it('remembers the places of values that a default merges with', () => {
  const schema = z.strictObject({
    a: z.strictObject({ b: z.int().default(1), c: z.int() }).prefault({ c: 2 }),
  });
  const file = join(home, 'y.yaml');
  writeFileSync(file, 'a:\n  b: 2\n  c: x\n');
  const error = failure(() => load(schema, file));
  expect(error).toMatchObject({ line: 3, column: 6, path: 'a.c' });
});
