/** Configurations: YAML that knows its lines, `extends` and `--set`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { load } from '../src/config/load.js';
import { loadRunConfig } from '../src/train/run-config.js';
import { failure, loading, refused, valid } from './support/config-files.js';

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

  it('replaces a group that a kind told below brings with it', () => {
    const text =
      'data: { name: text, path: a.txt, length: 8, batch: 2, tokenizer: { kind: bpe, vocab: 300 } }\n' +
      'model: { layers: 1, dim: 8, heads: 2 }\ntrain: { steps: 1 }\n';
    const byte = 'extends: base.yaml\ndata: { tokenizer: { kind: byte } }\n';
    expect(loading({ 'x.yaml': byte, 'base.yaml': text }).data).toMatchObject({
      tokenizer: { kind: 'byte' },
    });
    const more = 'extends: base.yaml\ndata: { tokenizer: { vocab: 400 } }\n';
    const { tokenizer } = loading({ 'x.yaml': more, 'base.yaml': text }).data as never;
    expect(tokenizer).toMatchObject({ kind: 'bpe', vocab: 400 });
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

  it('is what an option is missing for, where it names another kind', () => {
    const text = valid.replace('name: copy', 'name: text\n  path: a.txt');
    const error = failure(() => loading({ 'x.yaml': text }, 'data.name=copy'));
    expect(error.message).toMatch(/^--set data\.name=copy: data\.length is missing/);
    expect(error.line).toBeUndefined();
    const same = failure(() => loading({ 'x.yaml': valid.replace('  length: 64\n', '') }, 'data.name=copy'));
    expect(same).toMatchObject({ file: 'x.yaml', line: 1, path: 'data.length' });
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
  const file = 'y.yaml';
  writeFileSync(file, 'a:\n  b: 2\n  c: x\n');
  const error = failure(() => load(schema, file));
  expect(error).toMatchObject({ line: 3, column: 6, path: 'a.c' });
});
