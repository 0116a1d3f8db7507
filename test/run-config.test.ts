/** Whole runs: what is written comes back, every slip is found, and every configuration of the package trains. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseDocument } from 'yaml';
import { jsonSchema } from '../src/config/json-schema.js';
import { toYaml } from '../src/config/yaml.js';
import { openLoader } from '../src/data/loader.js';
import type { ConfigError } from '../src/runtime/errors.js';
import { packageRoot } from '../src/runtime/load.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { dumpRunConfig, loadRunConfig, parseRunConfig, runSchema } from '../src/train/run-config.js';
import { Trainer } from '../src/train/trainer.js';
import { inProcess } from './support/cli.js';
import { arbitraryOf } from './support/configs.js';
import { countingText, ofWhat, realData } from './support/data.js';
import { expectTyped } from './support/errors.js';
import { memory, scratch } from './support/folders.js';

const folder = join(packageRoot(), 'configs');
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.yaml'))
  .sort();
const whole = files.filter((name) => !name.startsWith('base/'));
const home = scratch(memory);

/** What a file itself says. */
const own = (name: string): Record<string, unknown> => {
  const text = readFileSync(join(folder, name), 'utf8').replace(/(?<=\d)_(?=\d)/g, '');
  return parseDocument(text).toJS();
};

/** The same for a file in another folder. */
function anywhere(name: string): Record<string, unknown> {
  const { extends: bases, ...rest } = own(name);
  if (bases === undefined) return rest;
  return { extends: [bases].flat().map((base) => join(folder, dirname(name), base as string)), ...rest };
}

type Json = { [key: string]: Json } & Json[];

/** Whether a value is what a JSON Schema says, as far as ours say anything. */
function fits(value: unknown, schema: Json): boolean {
  const { anyOf, type, enum: allowed, properties, items, prefixItems } = schema;
  if (anyOf) return anyOf.some((member) => fits(value, member));
  if ('const' in schema) return value === (schema.const as unknown);
  if (allowed) return (allowed as unknown[]).includes(value);
  const types = ([type] as unknown[]).flat();
  if (Array.isArray(value))
    return types.includes('array') && value.every((x, i) => fits(x, (prefixItems?.[i] ?? items) as Json));
  if (typeof value === 'object' && value !== null)
    return (
      types.includes('object') &&
      Object.entries(value).every(([key, x]) => properties![key] && fits(x, properties![key]))
    );
  if (typeof value === 'number') {
    const { minimum = -Infinity, maximum = Infinity } = schema as unknown as Record<string, number>;
    return (
      types.some((t) => t === 'number' || (t === 'integer' && Number.isInteger(value))) &&
      value >= minimum &&
      value <= maximum
    );
  }
  return types.includes(typeof value);
}

describe('a run', () => {
  it('that was written is read as an equal one', () => {
    let kinds = new Set<string>();
    fc.assert(
      fc.property(arbitraryOf(runSchema), (input) => {
        const result = runSchema.safeParse(input);
        fc.pre(result.success);
        const config = parseRunConfig(input);
        kinds = kinds.add(config.model.attention.kind).add(config.data.name);
        const file = join(home, 'dumped.yaml');
        writeFileSync(file, dumpRunConfig(config));
        expect(loadRunConfig(file)).toEqual(config);
        expect(parseRunConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
      }),
      { numRuns: 150, maxSkipsPerRun: 1000 },
    );
    expect(kinds.size, [...kinds].join()).toBeGreaterThan(12);
  });

  it('with a misspelt key is refused by that key, at its line', () => {
    const samples = whole.map(anywhere);
    const slip = fc.constantFrom(
      (key: string) => `${key}s`,
      (key: string) => key.slice(1),
      (key: string) => `${key[1] ?? ''}${key[0]}${key.slice(2)}_`,
      () => '__proto__',
      () => 'toString',
      (key: string) => key.toUpperCase(),
    );
    fc.assert(
      fc.property(fc.constantFrom(...samples), fc.nat(), slip, (config, n, change) => {
        const paths = keysOf(config);
        const path = paths[n % paths.length]!;
        const wrong = [...path.slice(0, -1), change(path.at(-1)!)];
        fc.pre(wrong.at(-1) !== '' && !paths.some((other) => other.join() === wrong.join()));
        const text = toYaml(renamed(config, path, wrong.at(-1)!));
        writeFileSync(join(home, 'slip.yaml'), text);
        const error = failureOf(() => loadRunConfig(join(home, 'slip.yaml')));
        expect(error.path, text).toBe(wrong.join('.'));
        expect(error.message).toContain(`${wrong.join('.')} is unknown`);
        expect(text.split('\n')[error.line! - 1]!.slice(error.column! - 1)).toMatch(
          new RegExp(`^"?${wrong.at(-1)}`),
        );
      }),
      { numRuns: 300 },
    );
  });
});

describe('JSON Schema', () => {
  const schema = jsonSchema(runSchema, 'a run') as Json;

  it.each(files)('admits %s, and none of its keys misspelt', (name) => {
    const config = own(name);
    expect(fits(config, schema)).toBe(true);
    for (const path of keysOf(config))
      expect(fits(renamed(config, path, `${path.at(-1)}_`), schema), path.join('.')).toBe(false);
  });

  it('describes every option, with its default', () => {
    const { model, train, data } = schema.properties as Json;
    const of = (group: Json, name: string) =>
      group.anyOf!.find(({ properties }) =>
        ['kind', 'name'].some((key) => properties![key]?.const === (name as unknown)),
      )!;
    expect(of(model!.properties!.attention!, 'tt').properties!.rank).toMatchObject({
      minimum: 1,
      description: expect.stringMatching(/bonds/),
    });
    expect(of(data!, 'copy').properties!.vocab).toMatchObject({ default: 256 });
    expect(train!.properties!.optimizer).toMatchObject({ default: { kind: 'adamw' } });
    expect(of(train!.properties!.optimizer!, 'muon').properties!.lr).toMatchObject({ default: 0.02 });
    expect(JSON.stringify(schema)).not.toMatch(/"required"|"oneOf"|9007199254740991/);
  });
});

describe('attn-vk config', () => {
  const file = 'configs/copy.flash.yaml';
  const root = packageRoot();

  it('shows what a file comes to, as YAML that is a configuration, or as JSON', async () => {
    const { stdout, status } = await inProcess(['config', 'show', file, '--set', 'train.steps=70'], {
      cwd: root,
    });
    expect(status).toBe(0);
    writeFileSync(join(home, 'shown.yaml'), stdout);
    const config = loadRunConfig(file, { sets: ['train.steps=70'] });
    expect(loadRunConfig(join(home, 'shown.yaml'))).toEqual(config);
    const json = await inProcess(['config', 'show', file, '--set', 'train.steps=70', '--json'], {
      cwd: root,
    });
    expect(JSON.parse(json.stdout)).toEqual(config);
  });

  it('shows and lists those of the package in any folder', async () => {
    const shown = await inProcess(['config', 'show', file], { cwd: home });
    expect(shown).toMatchObject({
      status: 0,
      stderr: expect.stringContaining('using the one of the package'),
    });
    const { stdout } = await inProcess(['config', 'list', '--json'], { cwd: home });
    const listed = JSON.parse(stdout) as { path: string; about: string }[];
    expect(listed.map(({ path }) => path)).toEqual(whole.map((name) => `configs/${name}`));
    for (const { about } of listed) expect(about).toMatch(/\w/);
    expect((await inProcess(['config', 'list'])).stdout).toContain('E4: enwik8');
  });

  it('checks files, says what is wrong where, and ends with status 2', async () => {
    writeFileSync(join(home, 'bad.yaml'), `extends: ${join(folder, 'copy.flash.yaml')}\ntrain:\n  lr: 1\n`);
    const ran = await inProcess(['config', 'check', file, 'bad.yaml', 'nowhere.yaml'], { cwd: home });
    expect(ran).toMatchObject({ status: 2, stdout: expect.stringMatching(/copy\.flash\.yaml: ok\n$/) });
    expect(ran.stderr).toMatch(
      /bad\.yaml:3:3: train\.lr is unknown\n {2}hint: did you mean 'train\.optimizer\.lr'/,
    );
    expect(ran.stderr).toMatch(/nowhere\.yaml/);
    const { stdout, status } = await inProcess(['config', 'check', 'bad.yaml', '--json'], { cwd: home });
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toEqual([
      {
        file: 'bad.yaml',
        ok: false,
        error: { message: expect.any(String), path: 'train.lr', line: 3, column: 3 },
      },
    ]);
    expect((await inProcess(['config', 'check', file, '--set', 'modl.dim=2'], { cwd: root })).stderr).toMatch(
      /--set modl\.dim=2: .*\n.*'model\.dim'/,
    );
  });

  it('prints the schema', async () => {
    const { stdout } = await inProcess(['config', 'schema']);
    expect(JSON.parse(stdout)).toEqual(jsonSchema(runSchema, 'a run of attn-vk'));
  });
});

describe(`configs, for two steps in small on ${ofWhat}`, () => {
  let runtime: Runtime;
  let before: Runtime | undefined;
  const text = join(home, 'text.txt');
  beforeAll(() => {
    writeFileSync(text, countingText(1500));
    before = useRuntime((runtime = new Runtime({ device: 'none', route: 'cpu' })));
  });
  afterAll(() => {
    useRuntime(before);
    runtime.dispose();
  });

  it.each([...whole].sort((a, b) => phase(a) - phase(b)))('%s', async (name) => {
    const config = loadRunConfig(join(folder, name), { sets: small(name, text) });
    expect(config.name).toBe(basename(name, '.yaml'));
    const run = join(home, config.name);
    const loader = await openLoader(config.data, { seed: config.seed, ahead: 0 });
    const trainer = await Trainer.open(config, { folder: run, loader });
    try {
      const outcome = await trainer.run();
      expect(outcome).toMatchObject({ reason: 'steps', step: 2 });
      expect(outcome.val!.loss).toBeGreaterThan(0);
      expect(outcome.val!.loss).toBeLessThan(20);
    } finally {
      await trainer.close();
    }
    expect(loadRunConfig(join(run, 'config.yaml'))).toEqual(config);
  });
});

/** DroPE goes on from what RoPE learned. */
const phase = (name: string): number => (name.includes('drope') ? 2 : 1);

/** As small as the data and the kind allow. */
function small(name: string, text: string): string[] {
  const { data, model, train } = loadRunConfig(join(folder, name));
  const sets = ['model.dim=32', 'model.layers=2', 'data.batch=2', 'train.steps=2', 'train.schedule.warmup=1'];
  sets.push(
    'train.log.every=1',
    'train.log.tensorboard=false',
    'train.eval.batches=1',
    'train.checkpoint.every=0',
  );
  for (const log of ['entropy', 'residuals'] as const) if (train.log[log]) sets.push(`train.log.${log}=2`);
  if (!['match3', 'needle'].includes(data.name)) sets.push('data.length=32');
  if (data.name === 'markov') sets.push('data.segment=8', 'data.sequences={ train: 20, val: 4 }');
  if (data.name === 'code') sets.push('data.path=src/config');
  if (['enwik8', 'wikitext', 'text'].includes(data.name)) {
    sets.push('data.bytes=20_000');
    // WikiText is a folder of three files.
    const path = data.name === 'wikitext' ? 'test/fixtures/data/wikitext' : text;
    if (!realData) sets.push(`data.path=${path}`);
  }
  if ((data.tokenizer as { kind?: string })?.kind === 'bpe') sets.push('data.tokenizer.vocab=300');
  if (model.attention.kind === 'tt') sets.push('model.attention.rank=4');
  if (train.init)
    sets.push(`train.init=${join(home, basename(name, '.drope.yaml'))}.rope/checkpoints/step-00000002`);
  return sets;
}

/** Paths of all keys, from the top. */
function keysOf(value: unknown, under: readonly string[] = []): string[][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, item]) => [[...under, key], ...keysOf(item, [...under, key])]);
}

const renamed = (value: unknown, [key, ...rest]: readonly string[], name: string): unknown =>
  Object.fromEntries(
    Object.entries(value as object).map(([k, item]) =>
      k !== key ? [k, item] : rest.length > 0 ? [k, renamed(item, rest, name)] : [name, item],
    ),
  );

function failureOf(fn: () => unknown) {
  try {
    fn();
  } catch (error) {
    return expectTyped(error, { code: 'ATTN_CONFIG' }) as ConfigError;
  }
  throw new Error('expected a ConfigError');
}
