/** Runs that were interrupted and resumed take the steps of those that were not, bit for bit. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RunConfig } from '../src/train/config.js';
import type { Hook } from '../src/train/hook.js';
import { Trainer, type TrainerOptions } from '../src/train/index.js';
import { checkPlace, placeOf } from '../src/train/place.js';
import { entryUrl } from './support/child.js';
import { refused } from './support/errors.js';
import { temporary } from './support/folders.js';
import { checkpointsOf, rowsOf, runConfig, tensorsOf, textFile } from './support/runs.js';
import { onCpu, train as trainToEnd } from './support/training.js';

const now = onCpu();

/** The outcome of training that is interrupted after step `at`, where one is given. */
async function train(config: RunConfig, options: TrainerOptions, at?: number) {
  let trainer: Trainer;
  const stop: Hook = { step: ({ step }) => void (step === at && trainer.stop('test')) };
  const { outcome } = await trainToEnd(config, { ...options, hooks: [stop] }, (opened) => {
    trainer = opened;
  });
  return outcome;
}

/** Everything that two equal runs leave alike. */
const leftBy = (folder: string, last: string) => ({
  metrics: rowsOf(folder),
  entropies: rowsOf(folder, 'entropy_log.csv'),
  residuals: rowsOf(folder, 'residuals.csv'),
  tensors: tensorsOf(folder, last).map((bytes) => bytes.toString('base64')),
  best: readFileSync(join(folder, 'checkpoints/best'), 'utf8'),
});

const all = { entropy: 2, residuals: 3, every: 4 };
const optimizers = {
  adamw: { kind: 'adamw', lr: 0.01 },
  muon: { kind: 'muon', lr: 0.02 },
} as const;

const configOf = (path: string, kind: keyof typeof optimizers, changes: object = {}): RunConfig =>
  runConfig(path, {
    data: { batch: 2 },
    train: {
      steps: 10,
      accumulate: 2,
      optimizer: optimizers[kind],
      schedule: { kind: 'cosine', warmup: 3 },
      log: all,
      eval: { every: 5, batches: 1 },
      checkpoint: { every: 3, keep: 20 },
      ...changes,
    },
  });
const LAST = 'step-00000010';

describe('a run that is interrupted', () => {
  it.each(['adamw', 'muon'] as const)(
    'at steps of all sorts and resumed is the same run: %s',
    async (kind) => {
      const home = temporary();
      const config = configOf(textFile(home), kind);
      const whole = join(home, 'whole');
      await train(config, { folder: whole });
      const parts = join(home, 'parts');
      const reasons = [];
      for (const at of [1, 4, 5, 9]) {
        const { reason, step } = await train(config, { folder: parts, resume: at > 1 }, at);
        reasons.push(`${reason} ${step}`);
      }
      expect(reasons).toEqual([1, 4, 5, 9].map((at) => `interrupted ${at}`));
      await train(config, { folder: parts, resume: true });
      expect(leftBy(parts, LAST)).toEqual(leftBy(whole, LAST));
      const { sessions } = JSON.parse(readFileSync(join(parts, 'run.json'), 'utf8'));
      expect(sessions.map(({ from, to }: { from: number; to: number }) => `${from}-${to}`)).toEqual([
        ...['0-1', '1-4', '4-5', '5-9', '9-10'],
      ]);
    },
  );

  it('with layers that remember more than parameters', async () => {
    const home = temporary();
    const usual = configOf(textFile(home), 'adamw');
    const attention = { kind: 'tiled', minTile: 1, tileSize: 3 };
    const config = { ...usual, model: { ...usual.model, attention } } as RunConfig;
    const [whole, parts] = [join(home, 'whole'), join(home, 'parts')];
    await train(config, { folder: whole });
    for (const at of [1, 3, 7, 99]) await train(config, { folder: parts, resume: at > 1 }, at);
    expect(leftBy(parts, LAST)).toEqual(leftBy(whole, LAST));
  });

  it('may go on from an earlier checkpoint, whose rows are all that stays', async () => {
    const home = temporary();
    const config = configOf(textFile(home), 'adamw');
    const folder = join(home, 'run');
    await train(config, { folder });
    const before = leftBy(folder, LAST);
    for (const resume of ['step-00000003', join(folder, 'checkpoints/step-00000006')]) {
      await train(config, { folder, resume });
      expect(leftBy(folder, LAST)).toEqual(before);
    }
    expect((await train(config, { folder, resume: true })).step).toBe(10); // nothing is left to do
    expect(leftBy(folder, LAST)).toEqual(before);
  });
});

describe('a process that is killed', () => {
  /** Trains in a process of its own that says so when it has come to step `at`, and waits there for a signal. */
  function start(config: RunConfig, folder: string, at: number): ChildProcess {
    const script = `
      import { onSignals, Trainer } from ${JSON.stringify(entryUrl)};
      let go;
      const signalled = new Promise((resolve) => { go = resolve; });
      const alive = setInterval(() => {}, 1000);
      const trainer = await Trainer.open(${JSON.stringify(config)}, {
        folder: ${JSON.stringify(folder)}, resume: ${existsSync(folder)},
        hooks: [{ step({ step }) {
          if (step !== ${at}) return;
          process.stdout.write('there\\n');
          return signalled;
        } }],
      });
      const signals = onSignals((signal) => { trainer.stop(signal); go(); });
      const { reason, step } = await trainer.run();
      await trainer.close();
      signals.end();
      clearInterval(alive);
      process.stdout.write(reason + ' ' + step + '\\n');
      process.exitCode = signals.exitCode ?? 0;`;
    return spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, ATTN_VK_ROUTE: 'cpu', ATTN_VK_CALIBRATE: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  }

  /** Sends the signal once the child is where it waits. */
  async function end(child: ChildProcess, signal: NodeJS.Signals) {
    let text = '';
    child.stdout!.setEncoding('utf8').on('data', (more) => {
      text += more;
      if (more.includes('there')) child.kill(signal);
    });
    const [code, by] = await new Promise<[number | null, string | null]>((resolve) => {
      child.on('close', (code, by) => resolve([code, by]));
    });
    return { code, by, told: text.trim().split('\n') };
  }

  it('by SIGKILL at a random step, SIGINT or SIGTERM, and resumed is the same run', async () => {
    const home = temporary();
    const config = configOf(textFile(home), 'adamw', { checkpoint: { every: 2, keep: 2 } });
    const folder = join(home, 'run');
    const at = 3 + Math.floor(Math.random() * 3);
    const killed = await end(start(config, folder, at), 'SIGKILL');
    expect(killed).toEqual({ code: null, by: 'SIGKILL', told: ['there'] });
    for (const [signal, code, step] of [
      ['SIGINT', 130, at + 1],
      ['SIGTERM', 143, at + 3],
    ] as const) {
      const ended = await end(start(config, folder, step), signal);
      expect(ended).toEqual({ code, by: null, told: ['there', `interrupted ${step}`] });
    }
    await train(config, { folder, resume: true });
    const whole = join(home, 'whole');
    await train(config, { folder: whole });
    expect(leftBy(folder, LAST), `killed at step ${at}`).toEqual(leftBy(whole, LAST));
    expect(checkpointsOf(folder).filter((name) => name.startsWith('.'))).toEqual([]);
  }, 60_000);
});

describe('a checkpoint', () => {
  async function trained() {
    const home = temporary();
    const folder = join(home, 'run');
    const path = textFile(home);
    const config = configOf(path, 'adamw', {
      steps: 4,
      checkpoint: { every: 2, keep: 3 },
      log: { every: 4 },
    });
    await train(config, { folder });
    const file = (step: number, name: string) => join(folder, `checkpoints/step-0000000${step}`, name);
    return { home, folder, config, path, file };
  }

  it('that is truncated or changed is refused, and the one before it used, which is said', async () => {
    const { folder, config, file } = await trained();
    const damages: [name: string, how: (path: string) => void, says: RegExp][] = [
      ['model.safetensors', (p) => truncateSync(p, 1000), /model\.safetensors has 1000 bytes and had \d+/],
      ['optimizer.safetensors', (p) => flip(p, -5), /optimizer\.safetensors is not what was written/],
      ['model.safetensors', (p) => rmSync(p), /there is no model\.safetensors/],
      ['state.json', (p) => truncateSync(p, 300), /state\.json cannot be read/],
      ['state.json', (p) => change(p, '"counter": ', '"counter": 1'), /state\.json is not what was written/],
      ['config.json', (p) => change(p, '"', "'"), /config\.json is not what was written/],
    ];
    for (const [name, damage, says] of damages) {
      const copy = `${file(4, name)}.copy`;
      copyFileSync(file(4, name), copy);
      damage(file(4, name));
      now.said = [];
      const trainer = await Trainer.open(config, { folder, resume: true });
      expect(trainer.step).toBe(2);
      await trainer.close();
      expect(now.said.join(), name).toMatch(
        /warn: going on from .*step-00000002, for later checkpoints are damaged/,
      );
      expect(now.said.join()).toMatch(says);
      await refused(() => Trainer.open(config, { folder, resume: 'step-00000004' }), 'ATTN_CHECKPOINT', says);
      copyFileSync(copy, file(4, name));
      rmSync(copy);
    }
    const trainer = await Trainer.open(config, { folder, resume: true });
    expect(trainer.step).toBe(4);
    await trainer.close();
    for (const step of [2, 4]) truncateSync(file(step, 'optimizer.safetensors'), 10);
    await refused(
      () => Trainer.open(config, { folder, resume: true }),
      'ATTN_CHECKPOINT',
      /no checkpoint .* is whole/,
    );
  });

  it('that a killed process had begun to write is taken away', async () => {
    const { folder, config } = await trained();
    const before = checkpointsOf(folder);
    for (const name of ['.step-00000004.77.tmp', '.step-00000004.77.old']) {
      mkdirSync(join(folder, 'checkpoints', name));
      writeFileSync(join(folder, 'checkpoints', name, 'model.safetensors'), 'begun');
    }
    await train(config, { folder, resume: true });
    expect(checkpointsOf(folder)).toEqual(before);
  });

  it('of another configuration is refused with what differs; more steps are no other configuration', async () => {
    const { folder, config, path } = await trained();
    const other = configOf(path, 'muon', { steps: 4 });
    const changed = { ...other, model: { ...other.model, dim: 64 }, seed: 4 };
    const { message } = await refused(
      () => Trainer.open(changed, { folder, resume: true }),
      'ATTN_CHECKPOINT',
      /of another configuration/,
    );
    for (const line of [
      'seed: 3 then, 4 now',
      'model.dim: 32 then, 64 now',
      'train.optimizer.kind: "adamw" then, "muon" now',
    ])
      expect(message).toContain(line);
    const longer = { ...config, train: { ...config.train, steps: 6 } };
    expect(await train(longer, { folder, resume: true })).toMatchObject({ reason: 'steps', step: 6 });
    expect(now.said.join()).toContain('train.steps: 4 then, 6 now');
  });

  it('of a device that is not there is refused, unless the configuration names another', async () => {
    const { config } = await trained();
    const here = placeOf(now.runtime);
    const there = { ...here, route: 'gpu' as const, device: 'Radeon RX 7900', driver: 'radv' };
    const { message } = await refused(
      async () => checkPlace(here, there, config, config),
      'ATTN_DEVICE',
      /made on Radeon RX 7900, route 'gpu'; this is .*route 'cpu'/,
    );
    expect(message).toContain('--set route=cpu');
    checkPlace(here, there, { ...config, route: 'cpu' }, config);
    expect(now.said.join()).toMatch(/bits may differ: device Radeon RX 7900 → /);
    now.said = [];
    checkPlace(here, { ...here, threads: here.threads + 1 }, config, config);
    expect(now.said.join()).toMatch(/bits may differ: threads/);
    now.said = [];
    checkPlace(here, here, config, config);
    expect(now.said).toEqual([]);
  });

  it('that asks for a device that is gone names both', async () => {
    const { folder, config } = await trained();
    const gone = { ...config, device: 'Radeon RX 7900' };
    await refused(
      () => Trainer.open(gone, { folder, resume: true }),
      'ATTN_DEVICE',
      /made on .*; here no Vulkan device/,
    );
  });
});

function flip(path: string, at: number): void {
  const bytes = readFileSync(path);
  bytes[bytes.length + at]! ^= 1;
  writeFileSync(path, bytes);
}

function change(path: string, from: string, to: string): void {
  writeFileSync(path, readFileSync(path, 'utf8').replace(from, to));
}
