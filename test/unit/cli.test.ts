/** What commands share: statuses, completion, progress, curves, how numbers are told. */
import { PassThrough } from 'node:stream';
import { Command, CommanderError, Option } from 'commander';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { complete, type Sources } from '../../src/cli/complete.js';
import { curve } from '../../src/cli/curve.js';
import { exitStatus, signalStatus } from '../../src/cli/exit.js';
import { colors, count, duration, facts, size } from '../../src/cli/output.js';
import { ending, progress, describe as told } from '../../src/cli/progress.js';
import * as errors from '../../src/runtime/errors.js';
import type { MetricsRow, Run } from '../../src/train/hook.js';

describe('statuses', () => {
  test.each([
    [new errors.ConfigError(''), 2],
    [new errors.ArgumentError(''), 2],
    [new errors.ShapeError(''), 2],
    [new errors.DTypeError(''), 2],
    [new errors.DataError(''), 3],
    [new errors.CheckpointError(''), 3],
    [new errors.FormatError(''), 3],
    [new errors.StateDictError(''), 3],
    [new errors.DeviceError(''), 3],
    [new errors.StorageError(''), 3],
    [new errors.DeviceLostError(''), 1],
    [new errors.OutOfMemoryError(''), 1],
    [new errors.GradError(''), 1],
    [new errors.InternalError(''), 1],
    [new CommanderError(0, 'commander.help', ''), 0],
    [new CommanderError(1, 'commander.unknownOption', ''), 2],
    [new TypeError(''), null],
    ['a string', null],
  ])('%s', (error, status) => expect(exitStatus(error)).toBe(status));
  test('signals', () => {
    expect(signalStatus('SIGINT')).toBe(130);
    expect(signalStatus('SIGTERM')).toBe(143);
  });
});

describe('complete', () => {
  const program = new Command('p');
  program
    .command('train')
    .argument('<config>')
    .option('--set <path=value...>')
    .option('--json', 'as JSON')
    .addOption(new Option('-s, --split <split>').choices(['train', 'val']));
  const below = program.command('config');
  below.command('schema');
  below.command('show').argument('[kinds...]');
  const sources: Sources = {
    config: () => ({ candidates: [{ value: 'configs/a.yaml' }], paths: 'files' }),
    'path=value': () => ({ candidates: [{ value: 'train.lr=' }, { value: 'train.steps=' }] }),
    kinds: () => ({ candidates: [{ value: 'flash' }, { value: 'holo' }] }),
  };
  const of = (...words: string[]) => {
    const { candidates, paths } = complete(program, words, sources);
    return [...candidates.map((c) => c.value), ...(paths === 'none' ? [] : [`:${paths}`])];
  };
  test.each([
    [['tr'], ['train']],
    [
      ['config', ''],
      ['schema', 'show', 'help'],
    ],
    [
      ['train', 'con'],
      ['configs/a.yaml', ':files'],
    ],
    [['train', 'x', ''], []],
    [['train', '--js'], ['--json']],
    [
      ['train', '--json', ''],
      ['configs/a.yaml', ':files'],
    ],
    [
      ['train', '--split', ''],
      ['train', 'val'],
    ],
    [['train', '-s', 'v'], ['val']],
    [['train', '--split=v'], ['--split=val']],
    [['train', '--set', 'train.s'], ['train.steps=']],
    [
      ['train', '--set', 'train.lr=1', 'train.'],
      ['train.lr=', 'train.steps='],
    ],
    [['train', '--', '--js'], [':files']],
    [['config', 'show', 'flash', 'h'], ['holo']],
    [['nonsense', ''], []],
    [[], ['train', 'config', 'help']],
  ])('%j', (words, expected) => expect(of(...words)).toEqual(expected));
  test('any words are answered', () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom('train', 'config', '--set', '--', '-', '=', '--split=', ''),
    );
    fc.assert(
      fc.property(fc.array(word), (words) => {
        const last = words.at(-1) ?? '';
        for (const { value } of complete(program, words, sources).candidates)
          expect(value.startsWith(last)).toBe(true);
      }),
    );
  });
});

describe('numbers', () => {
  test('sizes, counts, times', () => {
    expect([0, 812, 2048, 3.5 * 2 ** 20].map(size)).toEqual(['0 B', '812 B', '2.0 KiB', '3.5 MiB']);
    expect([812, 52_480, 803_000, 1.4e8].map(count)).toEqual([
      '812',
      '52.5 thousand',
      '803 thousand',
      '140 million',
    ]);
    expect([0.4, 45, 200, 7500, Number.NaN].map(duration)).toEqual([
      '0 s',
      '45 s',
      '3 min 20 s',
      '2 h 05 min',
      '?',
    ]);
    expect(
      facts(
        [
          ['a', '1'],
          ['long', '2'],
        ],
        '  ',
      ),
    ).toBe('  a     1\n  long  2');
  });
  test('colours only where the stream has them', () => {
    expect(colors(new PassThrough() as never).red('x')).toBe('x');
    expect(colors({ hasColors: () => true } as never).red('x')).toBe('\u001b[31mx\u001b[39m');
  });
});

describe('curve', () => {
  test('falls from the top left to the bottom right, with steps below', () => {
    const text = curve(
      Array.from({ length: 200 }, (_, i) => ({ step: 10 * i, value: 4 - i / 100 })),
      { width: 40, height: 5 },
    );
    const rows = text.split('\n');
    expect(rows).toHaveLength(7);
    expect(rows[0]).toMatch(/^ +3\.9\d+ [┼┤]/);
    expect(rows[5]).toMatch(/╰/);
    expect(rows[6]).toBe('          step 0                              1990');
  });
  test('nothing to draw, a level line, one step, values that are not finite', () => {
    expect(curve([])).toBe('');
    expect(curve([{ step: 1, value: 2 }])).toBe('');
    expect(
      curve([
        { step: 1, value: Number.NaN },
        { step: 2, value: 3 },
      ]),
    ).toBe('');
    expect(
      curve([
        { step: 1, value: 3 },
        { step: 9, value: 3 },
      ]),
    ).toContain('3.000');
    expect(
      curve([
        { step: 1, value: 3 },
        { step: 1, value: 4 },
      ]),
    ).toBe('');
  });
});

describe('progress', () => {
  const row: MetricsRow = {
    step: 20,
    split: 'train',
    loss: 2.5,
    perplexity: Math.exp(2.5),
    bpb: null,
    tokensPerSec: 11_200,
    stepTimeMs: 250,
    peakMb: 84.2,
    lr: 3e-3,
    gradNorm: 1,
  };
  const val: MetricsRow = { ...row, split: 'val', loss: 2.25, perplexity: Math.exp(2.25), bpb: 3.246 };
  const run = { step: 20, config: { train: { steps: 500 } } } as Run;
  afterEach(() => vi.unstubAllEnvs());

  async function written(tty: boolean): Promise<string> {
    const stream = Object.assign(new PassThrough(), {
      isTTY: tty,
      columns: 120,
      cursorTo: () => true,
      moveCursor: () => true,
      clearLine: () => true,
      clearScreenDown: () => true,
    });
    const hook = progress(stream as never);
    await hook.begin?.(run);
    await hook.step?.(run);
    await hook.logged?.(row, run);
    await hook.logged?.(val, run);
    await hook.end?.({ reason: 'steps', detail: '', step: 20, val, best: null, test: null, skipped: 0 }, run);
    return String(stream.read() ?? '');
  }
  const trained = 'loss 2.5000  lr 3.0e-3  11200 tokens/s  84 MB  2 min 00 s left';
  const evaluated = 'step  20/500  val loss 2.2500  perplexity 9.488  3.246 bits per byte';

  test('plain lines where there is no terminal, and in continuous integration', async () => {
    const plain = `step  20/500  ${trained}\n${evaluated}\n`;
    expect(await written(false)).toBe(plain);
    vi.stubEnv('CI', 'true');
    expect(await written(true)).toBe(plain);
  });
  test('one line that changes on a terminal; evaluations stay above it', async () => {
    vi.stubEnv('CI', '');
    const text = await written(true);
    expect(text).toContain(`${evaluated}\n`);
    expect(text).toContain(`20/500 ${trained}`);
    expect(text).not.toContain(`${trained}\n`);
  });
  test('how a run ended', () => {
    expect(
      ending({ reason: 'steps', detail: '', step: 500, val: null, best: null, test: null, skipped: 0 }, 500),
    ).toBe('done: 500 steps');
    expect(
      ending(
        {
          reason: 'early stop',
          detail: 'no better loss',
          step: 120,
          val: null,
          best: null,
          test: null,
          skipped: 0,
        },
        500,
      ),
    ).toBe('early stop after step 120 of 500: no better loss');
  });
  test('validation without text has no bits', () =>
    expect(told({ ...val, bpb: null }, run)).not.toContain('bits'));
});
