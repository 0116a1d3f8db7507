/** Train, evaluate, sample, inspect, on a small text: every command in this process, and those that matter compiled too. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/runtime/load.js';
import { survey } from '../../src/runtime/runtime.js';
import { attnVk, cli, inProcess } from '../support/cli.js';
import { memory, scratch } from '../support/folders.js';

const folder = scratch(memory);
const env = { ATTN_VK_ROUTE: 'cpu', ATTN_VK_DATA: '' };
const run = (...args: string[]) => inProcess(args, { cwd: folder, env });
/** The same as a process of its own. */
const spawned = (...args: string[]) => attnVk(args, { cwd: folder, env });

const words = Array.from({ length: 400 }, (_, i) => `${i} squared is ${i * i}\n`).join('');
const config = `# squares
data:
  name: text
  path: words.txt
  length: 32
  batch: 8
model:
  layers: 1
  dim: 16
  heads: 2
train:
  steps: 12
  log:
    every: 4
  eval:
    every: 6
    batches: 2
`;
const copy = `data: { name: copy, form: half, vocab: 8, length: 8, batch: 8 }
model: { layers: 1, dim: 16, heads: 2 }
train: { steps: 4 }
`;

beforeAll(() => {
  writeFileSync(join(folder, 'words.txt'), words);
  writeFileSync(join(folder, 'tiny.yaml'), config);
  writeFileSync(join(folder, 'copy.yaml'), copy);
});

describe('a run', () => {
  test('train tells what it does on stderr, and what to try next', async () => {
    const { status, stdout, stderr } = spawned('train', 'tiny.yaml');
    expect(status, stderr).toBe(0);
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^model +1 layers × 16, 2 heads, flash attention, \d/);
    expect(stderr).toMatch(/^device +the CPU, \d+ threads: ATTN_VK_ROUTE=cpu$/m);
    expect(stderr).toMatch(/^step {2}4\/12 {2}loss \d/m);
    expect(stderr).toMatch(/^step {2}6\/12 {2}val loss .* bits per byte$/m);
    expect(stderr).toMatch(/^saved +runs\/tiny\/checkpoints\/step-00000012$/m);
    expect(stderr).toContain('attn-vk sample runs/tiny');
  });

  test('a second one there is refused, with what can be done; --overwrite begins anew', async () => {
    const { status, stderr } = await run('train', 'tiny.yaml');
    expect(status).toBe(2);
    expect(stderr).toContain('--resume goes on with it, --overwrite begins anew, --out names another folder');
    const both = await run('train', '--resume', 'runs/tiny', '--overwrite');
    expect([both.status, both.stderr]).toEqual([2, expect.stringContaining('leave one of them out')]);
    const nowhere = await run('train', 'tiny.yaml', '--out', '');
    expect([nowhere.status, nowhere.stderr]).toEqual([2, expect.stringContaining('--out names no folder')]);
    const again = await run('train', 'tiny.yaml', '--overwrite', '--json');
    expect(again.status, again.stderr).toBe(0);
    expect(JSON.parse(again.stdout)).toMatchObject({ reason: 'steps', step: 12, run: 'runs/tiny' });
  });

  test('--resume goes on: named by configuration, by run, by checkpoint', async () => {
    const more = await run('train', 'tiny.yaml', '--resume', '--set', 'train.steps=14');
    expect(more.status, more.stderr).toBe(0);
    expect(more.stderr).toMatch(/^steps +from 12 to 14/m);
    expect((await run('train', '--resume', 'runs/tiny', '--set', 'train.steps=15')).stderr).toMatch(
      /from 14 to 15/,
    );
    const { stderr } = await run(
      'train',
      '--resume',
      'runs/tiny/checkpoints/step-00000014',
      '--set',
      'train.steps=15',
    );
    expect(stderr).toMatch(/from 14 to 15/);
    const shorter = await run('train', '--resume', 'tiny.yaml', '--set', 'train.steps=15');
    expect(shorter.stderr).toMatch(/from 15 to 15/);
  });

  test('--resume beside a configuration: the checkpoint by its name, the run that is meant by its folder', async () => {
    const more = (n: number, ...args: string[]) => run('train', ...args, '--set', `train.steps=${n}`);
    expect((await more(1, 'copy.yaml', '--out', 'one')).status).toBe(0);
    expect((await more(2, 'one/config.yaml', '--resume', 'best')).stderr).toMatch(/^steps +from 1 to 2/m);
    const named = await more(3, 'one/config.yaml', '--resume', 'step-00000002');
    expect(named.stderr).toMatch(/^steps +from 2 to 3/m);
    const { status, stderr } = await more(4, 'copy.yaml', '--resume', 'one');
    expect(status, stderr).toBe(0);
    expect(stderr).toMatch(/^steps +from 3 to 4[\s\S]*^run +one$/m);
    const out = await more(5, 'copy.yaml', '--resume', 'one', '--out', 'two');
    expect(out.stderr).toMatch(/^steps +from 4 to 5[\s\S]*^run +two$/m);
    const path = await more(5, 'copy.yaml', '--resume', 'one/checkpoints/step-00000004');
    expect(path.stderr).toMatch(/^steps +from 4 to 5[\s\S]*^run +.*one$/m);
    expect(existsSync(join(folder, 'runs/copy'))).toBe(false);
  });

  test('goes on where nobody reads what it tells', async () => {
    const args = [
      'train',
      'copy.yaml',
      '--out',
      'unheard',
      '--set',
      'train.steps=50',
      '--set',
      'train.log.every=1',
    ];
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, env: { ...process.env, ...env } });
    child.stderr.once('data', () => child.stderr.destroy());
    const status = await new Promise((resolve) => child.on('close', (code) => resolve(code)));
    expect(status).toBe(0);
    const { sessions } = JSON.parse(readFileSync(join(folder, 'unheard/run.json'), 'utf8'));
    expect(sessions).toMatchObject([{ to: 50, outcome: 'steps' }]);
  });

  test('eval: the figures, and their relations', async () => {
    const { status, stdout, stderr } = await run('eval', 'runs/tiny', '--split', 'test', '--json');
    expect(status, stderr).toBe(0);
    const { loss, perplexity, bitsPerByte, accuracy, tokens } = JSON.parse(stdout);
    expect(perplexity).toBeCloseTo(Math.exp(loss), 10);
    expect(bitsPerByte).toBeCloseTo(loss / Math.LN2, 10); // bytes are tokens
    expect(accuracy).toBeNull();
    expect(tokens).toBeGreaterThan(0);
    expect((await run('eval', 'runs/tiny', '--set', 'data.length=16')).stdout).toMatch(/^perplexity +\d/m);
  });

  test('sample: stdout is the text alone, and a seed decides it', async () => {
    const sample = (...args: string[]) =>
      run('sample', 'runs/tiny', '--prompt', '12 sq', '--tokens', '12', ...args);
    const { status, stdout, stderr } = await sample('--seed', '3', '--top-k', '9', '--top-p', '0.9');
    expect(status, stderr).toBe(0);
    expect(stdout).toMatch(/^12 sq/);
    expect(stderr).toContain('12 tokens of runs/tiny/checkpoints/');
    expect((await sample('--seed', '3', '--top-k', '9', '--top-p', '0.9')).stdout).toBe(stdout);
    const { tokens, text } = JSON.parse((await sample('--json', '--temperature', '0')).stdout);
    expect(tokens).toHaveLength(12);
    expect(text).toMatch(/^12 sq/);
  });

  test('inspect: tensors, configuration, checkpoints, curves; as JSON; of a file', async () => {
    const { status, stdout } = await run('inspect', 'runs/tiny');
    expect(status).toBe(0);
    expect(stdout).toMatch(/(wte|tokens)\.weight .*\[256, 16\]/);
    expect(stdout).toMatch(/train loss/);
    expect(stdout).toMatch(/╭|╮|╰|╯|┼/);
    const found = JSON.parse((await run('inspect', 'runs/tiny', '--json')).stdout);
    expect(found.kind).toBe('run');
    expect(found.parameters).toBe(found.manifest.parameters);
    expect(found.metrics.length).toBeGreaterThan(3);
    const file = JSON.parse((await run('inspect', join(found.model, 'model.safetensors'), '--json')).stdout);
    expect(file.tensors).toEqual(found.tensors);
  });

  test('a checkpoint that was copied out is a model', async () => {
    cpSync(join(folder, 'runs/tiny/checkpoints/step-00000014'), join(folder, 'model'), { recursive: true });
    expect((await run('sample', 'model', '--tokens', '2')).status).toBe(0);
    expect((await run('eval', 'model', '--config', 'tiny.yaml')).status).toBe(0);
    const { status, stderr } = await run('eval', 'model');
    expect(status).toBe(2);
    expect(stderr).toContain('--config');
  });

  test('weights that are not those that were written are not evaluated, sampled or trained from', async () => {
    const at = join(folder, 'altered');
    cpSync(join(folder, 'runs/tiny/checkpoints/step-00000014'), at, { recursive: true });
    const file = join(at, 'model.safetensors');
    const bytes = readFileSync(file);
    bytes[bytes.length - 6]! ^= 1;
    writeFileSync(file, bytes);
    for (const args of [
      ['sample', 'altered'],
      ['eval', 'altered', '--config', 'tiny.yaml'],
      ['train', 'tiny.yaml', '--out', 'from-altered', '--set', 'train.init=altered'],
    ]) {
      const { status, stdout, stderr } = await run(...args);
      expect([status, stdout]).toEqual([3, '']);
      expect(stderr).toContain('altered: model.safetensors is not what was written');
    }
    expect(existsSync(join(folder, 'from-altered'))).toBe(false);
    // Changed on purpose, and said so.
    rmSync(join(at, 'state.json'));
    expect((await run('sample', 'altered', '--tokens', '2')).status).toBe(0);
  });

  test('what cannot be printed is told', () => {
    const args = ['-c', '"$1" "$2" config schema > /dev/full', 'sh', process.execPath, cli];
    const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
    expect(status).toBe(3);
    expect(stderr).toMatch(/^attn-vk: what is printed cannot be written: ENOSPC.*\n$/);
  });

  test('a model of Hugging Face in several files', async () => {
    const llama = join(packageRoot(), 'test/fixtures/hf/llama');
    const { stdout, stderr } = await run('sample', llama, '--prompt', '1,2', '--tokens', '3');
    expect(stdout, stderr).toMatch(/^1 2( \d+){3}\n$/);
    const { tensors } = JSON.parse((await run('inspect', llama, '--json')).stdout);
    expect(tensors.length).toBeGreaterThan(20);
  });

  test('data without text: ids for a prompt, accuracy for an evaluation', async () => {
    expect((await run('train', 'copy.yaml', '--out', 'elsewhere')).status).toBe(0);
    expect((await run('sample', 'elsewhere', '--prompt', '1,2,3', '--tokens', '2')).stdout).toMatch(
      /^1 2 3 \d \d\n$/,
    );
    const { accuracy, bitsPerByte } = JSON.parse((await run('eval', 'elsewhere', '--json')).stdout);
    expect(accuracy).toBeGreaterThanOrEqual(0);
    expect(bitsPerByte).toBeNull();
    expect((await run('sample', 'elsewhere', '--prompt', 'text')).status).toBe(2);
    expect((await run('sample', 'elsewhere', '--prompt', '9')).stderr).toContain('ids are 0 to 7');
  });
});

describe.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s', (signal, expected) => {
  test(`saves, says how to go on, and ends with ${expected}`, async () => {
    const name = `stopped-${signal}`;
    const args = [
      'train',
      'tiny.yaml',
      '--set',
      `name=${name}`,
      '--set',
      'train.steps=1000000',
      '--set',
      'train.eval.every=0',
    ];
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder, env: { ...process.env, ...env } });
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text) => {
      if (stderr.includes('step ')) return void (stderr += text);
      stderr += text;
      if (stderr.includes('step ')) child.kill(signal);
    });
    const status = await new Promise((resolve) => child.on('close', (code) => resolve(code)));
    expect(status, stderr).toBe(expected);
    expect(stderr).toContain(`attn-vk train --resume runs/${name}`);
    const saved = JSON.parse((await run('inspect', `runs/${name}`, '--json')).stdout);
    expect(saved.checkpoints).toHaveLength(1);
    expect(saved.manifest.sessions[0].outcome).toBe('interrupted');
    const step = Number(saved.checkpoints[0].name.slice('step-'.length));
    const resumed = await run('train', '--resume', `runs/${name}`, '--set', `train.steps=${step + 1}`);
    expect(resumed.status, resumed.stderr).toBe(0);
  });
});

/** Everything below a folder, with what is in it. */
function contents(at: string): Record<string, string> {
  const names = readdirSync(at, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    names.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path, readFileSync(path, 'latin1')];
    }),
  );
}

describe('bad input: one message, the right status, and nothing left behind', () => {
  beforeAll(async () => {
    writeFileSync(join(folder, 'empty.txt'), '');
    writeFileSync(
      join(folder, 'binary.txt'),
      Uint8Array.from({ length: 4096 }, (_, i) => (i * 7919) % 256),
    );
    writeFileSync(join(folder, 'broken.yaml'), 'data: [');
    writeFileSync(join(folder, 'unknown.yaml'), config.replace('  steps: 12', '  stpes: 12'));
    writeFileSync(
      join(folder, 'rope.yaml'),
      config.replace('  heads: 2', '  heads: 2\n  positions: rope').replace('dim: 16', 'dim: 6'),
    );
    writeFileSync(
      join(folder, 'tt.yaml'),
      config.replace('  heads: 2', '  heads: 2\n  attention: { kind: tt, rank: 4096 }'),
    );
    mkdirSync(join(folder, 'flat'));
    writeFileSync(join(folder, 'flat/checkpoints'), '');
    await run('train', 'tiny.yaml', '--out', 'damaged');
    const at = join(folder, 'damaged/checkpoints');
    for (const name of readdirSync(at).filter((n) => n.startsWith('step-')))
      writeFileSync(join(at, name, 'model.safetensors'), 'cut');
  }, 60_000);

  test.each<[what: string, args: string[], status: number, told: (string | RegExp)[]]>([
    ['no configuration', ['train'], 2, ['attn-vk train configs/copy.flash.yaml']],
    ['a configuration that is not there', ['train', 'tny.yaml'], 2, ['tny.yaml is not there']],
    ['YAML that is none', ['train', 'broken.yaml'], 2, [/broken\.yaml:\d+:\d+/]],
    ['an unknown key', ['train', 'unknown.yaml'], 2, [/unknown\.yaml:12:3/, "did you mean 'steps'"]],
    [
      'a wrong type',
      ['train', 'tiny.yaml', '--set', 'train.steps=many', '--out', 'new'],
      2,
      ['train.steps', 'many'],
    ],
    [
      'a set on a path that is not',
      ['train', 'tiny.yaml', '--set', 'train.lr=1', '--out', 'new'],
      2,
      ['train.lr', 'train.optimizer.lr'],
    ],
    [
      'a set that is no pair',
      ['train', 'tiny.yaml', '--set', 'train.steps', '--out', 'new'],
      2,
      ['train.steps'],
    ],
    ['rope with heads of odd size', ['train', 'rope.yaml', '--out', 'new'], 2, ['rope', 'rope.yaml', 'even']],
    ['a rank above the dimension', ['train', 'tt.yaml', '--out', 'new'], 2, ['rank', 'tt.yaml']],
    [
      'data that is not there',
      ['train', 'tiny.yaml', '--set', 'data.path=no.txt', '--out', 'new'],
      3,
      ['no.txt'],
    ],
    [
      'a set that is not here',
      ['train', 'tiny.yaml', '--set', 'data={name: enwik8, length: 32, batch: 8}', '--out', 'new'],
      3,
      ['enwik8.zip', 'SHA-256'],
    ],
    ['an empty file', ['train', 'tiny.yaml', '--set', 'data.path=empty.txt', '--out', 'new'], 3, ['empty']],
    [
      'binary where text was expected',
      ['train', 'tiny.yaml', '--set', 'data.path=binary.txt', '--out', 'new'],
      3,
      ['binary.txt'],
    ],
    [
      'rows longer than the data',
      ['train', 'tiny.yaml', '--set', 'data.length=100000', '--out', 'new'],
      3,
      ['100000'],
    ],
    [
      'no such device',
      ['train', 'tiny.yaml', '--set', 'device=nonsense', '--set', 'route=gpu', '--out', 'new'],
      3,
      ['nonsense'],
    ],
    ['a folder that is a file', ['train', 'tiny.yaml', '--out', 'words.txt'], 3, ['words.txt']],
    [
      'a checkpoint of another model',
      ['train', 'tiny.yaml', '--resume', '--set', 'model.dim=32'],
      3,
      ['model.dim: 16 then, 32 now'],
    ],
    [
      'a checkpoint that is not there',
      ['train', 'tiny.yaml', '--resume', 'runs/tiny/checkpoints/step-7'],
      3,
      ['step-7'],
    ],
    ['damaged checkpoints', ['train', 'tiny.yaml', '--resume', '--out', 'damaged'], 3, ['model.safetensors']],
    [
      'checkpoints that are no folder',
      ['train', 'tiny.yaml', '--resume', '--out', 'flat'],
      3,
      ['cannot read flat/checkpoints'],
    ],
    ['nothing to resume', ['train', 'tiny.yaml', '--resume', '--out', 'new'], 3, ['new']],
    ['an unknown option', ['train', 'tiny.yaml', '--resum'], 2, ['--resume']],
    ['eval: not there', ['eval', 'runs/tny'], 3, ['did you mean runs/tiny?']],
    ['eval: no run', ['eval', '.'], 3, ['neither a run nor']],
    ['eval: a split that is not', ['eval', 'runs/tiny', '--split', 'dev'], 2, ['train, val, test']],
    [
      'eval: data of another vocabulary',
      ['eval', 'runs/tiny', '--config', 'copy.yaml', '--set', 'data.vocab=999'],
      3,
      ['vocabulary of 256', '999'],
    ],
    [
      'eval: rows that it cannot see',
      ['eval', 'runs/tiny', '--set', 'data.length=64'],
      3,
      ['sees 32 tokens'],
    ],
    ['sample: a temperature that is none', ['sample', 'runs/tiny', '--temperature', 'hot'], 2, ['0 or more']],
    ['sample: a share above 1', ['sample', 'runs/tiny', '--top-p', '1.5'], 2, ['1 at most']],
    ['sample: damaged weights', ['sample', 'damaged'], 3, ['model.safetensors']],
    ['inspect: a file of another kind', ['inspect', 'tiny.yaml'], 3, ['tiny.yaml']],
    ['inspect: not there', ['inspect', 'nothing'], 3, ['nothing is not there']],
  ])('%s', async (_, args, status, told) => {
    const before = contents(folder);
    const got = await run(...args);
    expect(got.status, got.stderr).toBe(status);
    expect(got.stdout).toBe('');
    for (const text of told) expect(got.stderr).toMatch(text);
    expect(got.stderr).not.toMatch(/^ +at .*\d+:\d+\)?$/m);
    expect(Object.keys(contents(folder))).toEqual(Object.keys(before));
    expect(contents(folder)).toEqual(before);
    expect(existsSync(join(folder, 'new'))).toBe(false);
  });
});

test.skipIf(!survey().devices.some((d) => !d.unusable))(
  'a device that is gone: told, with how to go on',
  () => {
    const device = { ...env, ATTN_VK_ROUTE: 'gpu', ATTN_VK_CALIBRATE: '0' };
    const args = ['train', 'tiny.yaml', '--out', 'gpu', '--set'];
    const made = attnVk([...args, 'train.steps=1'], { cwd: folder, env: device });
    expect(made.status, made.stderr).toBe(0);
    const before = contents(folder);
    const none = join(folder, 'no-such-driver.json');
    const gone = { ...device, ATTN_VK_ROUTE: 'auto', VK_DRIVER_FILES: none, VK_ICD_FILENAMES: none };
    const { status, stderr } = attnVk([...args, 'train.steps=2', '--resume'], { cwd: folder, env: gone });
    expect(status, stderr).toBe(3);
    expect(stderr).toMatch(/the checkpoint was made on .*, route 'gpu'; this is .*, route 'cpu'/);
    expect(stderr).toContain('--set route=cpu');
    expect(contents(folder)).toEqual(before);
  },
);
