/** How training ends, by itself, by others and by what goes wrong; and what is refused before it begins. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, vi } from 'vitest';
import { mul, scope, tensor } from '../src/index.js';
import { loadModel } from '../src/io/model-folder.js';
import type { Hook, MetricsRow } from '../src/train/hook.js';
import { onSignals, Trainer } from '../src/train/index.js';
import { looking } from '../src/train/looking.js';
import { checkRoom } from '../src/train/storage.js';
import { entryUrl } from './support/child.js';
import { failureOf, refused } from './support/errors.js';
import { temporary } from './support/folders.js';
import { checkpointsOf, inThread, rowsOf, runConfig, tensorsOf, textFile } from './support/runs.js';
import { onCpu, train } from './support/training.js';

const here = onCpu();

describe('an interruption', () => {
  const config = (home: string, train: object = {}) =>
    runConfig(textFile(home), { train: { eval: { every: 2, test: true }, ...train } } as never);

  it('before the first step computes nothing, and can be resumed', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const first = await train(config(home), { folder }, (trainer) => trainer.stop('test'));
    expect(first.outcome).toMatchObject({ reason: 'interrupted', step: 0, val: null });
    expect(rowsOf(folder)).toEqual([]);
    const { outcome } = await train(config(home), { folder, resume: true });
    expect(outcome).toMatchObject({ reason: 'steps', step: 12 });
    const { sessions } = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'));
    expect(sessions).toMatchObject([
      { from: 0, to: 0 },
      { from: 0, to: 12 },
    ]);
  });

  it('while the evaluation runs after which training ends anyway leaves the test split evaluated', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const early = config(home, { earlyStop: { patience: 1, delta: 100 } });
    const trainer = await Trainer.open(early, {
      folder,
      loader: await inThread(early),
      hooks: [{ logged: ({ step, split }) => void (step === 4 && split === 'val' && trainer.stop('test')) }],
    });
    expect(await trainer.run()).toMatchObject({ reason: 'interrupted', step: 4 });
    await trainer.close();
    expect((await train(early, { folder, resume: true })).outcome).toMatchObject({
      reason: 'early stop',
      step: 4,
    });
    expect(rowsOf(folder).filter(({ split }) => split === 'test')).toHaveLength(1);
  });
});

describe('signals', () => {
  it('stop training once, and at the second time the process; then they do again what they did', () => {
    const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
    const listeners = () => process.listenerCount('SIGINT') + process.listenerCount('SIGTERM');
    const before = listeners();
    const stopped: string[] = [];
    const signals = onSignals((signal) => stopped.push(signal));
    try {
      expect(signals).toMatchObject({ received: null, exitCode: undefined });
      process.emit('SIGTERM', 'SIGTERM');
      expect(exit).not.toHaveBeenCalled();
      expect(signals).toMatchObject({ received: 'SIGTERM', exitCode: 143 });
      process.emit('SIGINT', 'SIGINT');
      expect(exit.mock.calls).toEqual([[130]]);
      expect(stopped).toEqual(['SIGTERM']);
    } finally {
      signals.end();
      exit.mockRestore();
    }
    expect(listeners()).toBe(before);
  });
});

describe('what is not finite', () => {
  /** The loss of one step is NaN, and so are its gradients. */
  const poison = (at: number) => (trainer: Trainer) => {
    const { model } = trainer;
    const usual = model.objective.bind(model);
    let call = 0;
    model.objective = (...args) => (++call === at ? mul(usual(...args), tensor(Number.NaN)) : usual(...args));
  };

  it("'stop' ends with an error and a checkpoint of what finite steps made; resuming goes on behind", async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const config = runConfig(textFile(home), { train: { log: { every: 5 } } });
    const error = await refused(
      () => train(config, { folder }, poison(3)),
      'ATTN_GRAD',
      /step 3: the loss is NaN/,
    );
    const [name] = checkpointsOf(folder).filter((n) => n.startsWith('step-'));
    expect(error.hint).toContain(name);
    expect(JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8')).sessions[0].outcome).toBe('failed');
    const { model } = await loadModel(join(folder, 'checkpoints', name!));
    for (const p of model.parameters()) expect((await p.data()).every(Number.isFinite)).toBe(true);
    model.dispose();
    const { outcome } = await train(config, { folder, resume: true });
    expect(outcome).toMatchObject({ reason: 'steps', step: 12, skipped: 1 });
  });

  it("'skip' goes on without the step, and counts it", async () => {
    const home = temporary();
    const config = runConfig(textFile(home), { train: { nan: 'skip' } });
    const { outcome } = await train(config, { folder: join(home, 'run') }, poison(5));
    expect(outcome).toMatchObject({ reason: 'steps', step: 12, skipped: 1 });
    expect(outcome.detail).toContain('1 steps were not finite');
    expect(here.said.join()).toContain('step 6: 1 steps so far were not finite');
    for (const { loss } of rowsOf(join(home, 'run'))) expect(Number(loss)).toBeGreaterThan(0);
  });
});

describe('hooks', () => {
  it('are told in order, may stop the run, and end it with their errors', async () => {
    const home = temporary();
    const path = textFile(home);
    const told: string[] = [];
    const hook: Hook = {
      begin: ({ step }) => void told.push(`begin ${step}`),
      step: (run) => {
        told.push(`step ${run.step}`);
        if (run.step === 4) run.stop('enough');
      },
      logged: ({ step, split }: MetricsRow) => void told.push(`${split} ${step}`),
      saving: ({ step }) => void told.push(`saving ${step}`),
      saved: (folder) => void told.push(folder.slice(-8)),
      end: ({ reason, detail }) => void told.push(`${reason}: ${detail}`),
    };
    await train(runConfig(path), { folder: join(home, 'a'), hooks: [hook] });
    expect(told).toEqual([
      ...['begin 0', 'step 1', 'step 2', 'step 3', 'step 4', 'train 3', 'val 4', 'saving 4', '00000004'],
      'early stop: enough',
    ]);
    const failing: Hook = {
      step() {
        throw new RangeError('mine');
      },
    };
    const ended: string[] = [];
    const last: Hook = { end: ({ reason }) => void ended.push(reason) };
    const error = await failureOf(() =>
      train(runConfig(path), { folder: join(home, 'b'), hooks: [failing, last] }),
    );
    expect(error).toBeInstanceOf(RangeError);
    expect(ended).toEqual(['failed']);
  });

  it('all hear of the end, and the first failure is the one that is told', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const ended: string[] = [];
    const failing: Hook = {
      step() {
        // The manifest cannot be written any more.
        rmSync(join(folder, 'run.json'));
        mkdirSync(join(folder, 'run.json/full'), { recursive: true });
        throw new RangeError('mine');
      },
      end() {
        throw new Error('mine as well');
      },
    };
    const last: Hook = { end: ({ reason }) => void ended.push(reason) };
    const error = await failureOf(() => train(runConfig(textFile(home)), { folder, hooks: [failing, last] }));
    expect(error).toBeInstanceOf(RangeError);
    expect(ended).toEqual(['failed']);
    expect(here.said.join()).toMatch(/at the end of the run: .*cannot write .*run\.json.*mine as well/s);
  });

  it('that look have their rows in their files before a checkpoint, however late these come', async () => {
    const home = temporary();
    const slow = looking({
      every: 1,
      file: 'slow.csv',
      columns: ['seen'],
      look: ({ step }) => sleep(30, [{ seen: step }]),
    });
    const last: (string | undefined)[] = [];
    const saved: Hook = { saved: (_, run) => void last.push(rowsOf(run.folder, 'slow.csv').at(-1)?.step) };
    const config = runConfig(textFile(home), { train: { steps: 4, checkpoint: { every: 2 } } });
    await train(config, { folder: join(home, 'run'), hooks: [slow, saved] });
    expect(last).toEqual(['2', '4']);
  });

  it('the entropy log tells what each layer tells of itself', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const config = runConfig(textFile(home), {
      model: { attention: { kind: 'flash', window: 5 } },
      train: { steps: 2, log: { entropy: 2 } },
    } as never);
    const trainer = await Trainer.open(config, { folder });
    await trainer.run();
    const { model, opened } = trainer;
    const { ids } = await opened.loader.batch('val', 0);
    model.eval();
    const expected = await scope(async () => {
      const x = model.embed(tensor(ids.subarray(0, 16), [1, 16]));
      const { attention, norm1 } = model.blocks[0]!;
      return attention!.metrics(norm1!.forward(x));
    });
    await trainer.close();
    const rows = rowsOf(folder, 'entropy_log.csv').filter(({ layer }) => layer === '0');
    rows.forEach(({ entropy, uniform }, h) => {
      expect(Number(entropy)).toBeCloseTo(expected.entropy[h]!, 6);
      expect(Number(uniform)).toBe(expected.uniform);
    });
    expect(rows).toHaveLength(2);
  });

  it('kinds without rows are left out of the entropy log, which is said once', async () => {
    const home = temporary();
    const config = runConfig(textFile(home), {
      model: { attention: { kind: 'linear' } },
      train: { steps: 4, log: { entropy: 1 } },
    });
    await train(config, { folder: join(home, 'run') });
    expect(rowsOf(join(home, 'run'), 'entropy_log.csv')).toEqual([]);
    expect(here.said.filter((s) => s.includes("'linear'"))).toHaveLength(1);
  });
});

describe('before training begins', () => {
  it('a run that is there is neither mixed with nor lost', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const config = runConfig(textFile(home), { train: { steps: 3 } });
    await train(config, { folder });
    writeFileSync(join(folder, 'notes.txt'), 'mine');
    const before = readFileSync(join(folder, 'metrics.csv'), 'utf8');
    await refused(() => Trainer.open(config, { folder }), 'ATTN_STORAGE', /a run in .* already/);
    expect(readFileSync(join(folder, 'metrics.csv'), 'utf8')).toBe(before);
    await train(runConfig(textFile(home), { train: { steps: 6 } }), { folder, overwrite: true });
    expect(rowsOf(folder).at(-1)!.step).toBe('6');
    expect(checkpointsOf(folder)).toContain('step-00000006');
    expect(checkpointsOf(folder)).not.toContain('step-00000003');
    expect(readFileSync(join(folder, 'notes.txt'), 'utf8')).toBe('mine');
  });

  it('a folder that cannot be, or has no room, is refused', async () => {
    const home = temporary();
    const config = runConfig(textFile(home));
    const file = join(home, 'file');
    writeFileSync(file, '');
    await refused(() => Trainer.open(config, { folder: join(file, 'run') }), 'ATTN_STORAGE', /cannot write/);
    await refused(
      () => Trainer.open(config, { folder: '/proc/attn-vk/run' }),
      'ATTN_STORAGE',
      /cannot write/,
    );
    await refused(async () => checkRoom(home, 1e18), 'ATTN_STORAGE', /1000000000000 MB, and \d+ MB are free/);
  });

  it('what fails leaves no folder behind', async () => {
    const home = temporary();
    const folder = join(home, 'deep/run');
    const missing = runConfig(join(home, 'missing.txt'));
    await refused(() => Trainer.open(missing, { folder }), 'ATTN_DATA', /missing\.txt/);
    await refused(
      () => Trainer.open(runConfig(textFile(home)), { folder, resume: true }),
      'ATTN_CHECKPOINT',
      /no checkpoint/,
    );
    await refused(
      () => Trainer.open(runConfig(textFile(home), { device: 'no such device' }), { folder }),
      'ATTN_DEVICE',
      /no such device/,
    );
    const greedy = runConfig(textFile(home), { train: { checkpoint: { keep: 1e12 } } });
    await refused(() => Trainer.open(greedy, { folder }), 'ATTN_STORAGE', /are free/);
    const trainer = await Trainer.open(runConfig(textFile(home)), { folder });
    await trainer.close(); // it never ran
    await trainer.close();
    expect(existsSync(join(home, 'deep'))).toBe(false);
  });
});

describe('a disk that fills up', () => {
  it('ends the run with a StorageError; the checkpoint before stays whole, and nothing of the new one', () => {
    const home = temporary();
    const folder = join(home, 'run');
    const config = runConfig(textFile(home), { train: { steps: 4, checkpoint: { every: 4, keep: 3 } } });
    const longer = { ...config, train: { ...config.train, steps: 8 } };
    mkdirSync(folder);
    const script = `
      import { Trainer } from ${JSON.stringify(entryUrl)};
      const trainer = await Trainer.open(${JSON.stringify(longer)}, { folder: ${JSON.stringify(folder)}, hooks: [{
        saved() { process.stdout.write('saved\\n'); }, step(run) { if (run.step === 5) LIMIT(); },
      }] });
      try { await trainer.run(); } catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message })); }
      await trainer.close();`;
    // No file may be longer than 64 KiB from step 5 on: what a full disk does to the weights.
    const limited = script
      .replace(
        'LIMIT()',
        "(await import('node:child_process')).execFileSync('prlimit', ['--fsize=65536', '--pid', String(process.pid)])",
      )
      .replace('step(run)', 'async step(run)');
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', limited], {
      encoding: 'utf8',
      env: { ...process.env, ATTN_VK_ROUTE: 'cpu', ATTN_VK_CALIBRATE: '0' },
    });
    const lines = stdout.trim().split('\n');
    expect(lines[0], stderr).toBe('saved');
    expect(JSON.parse(lines.at(-1)!)).toMatchObject({ code: 'ATTN_STORAGE' });
    expect(checkpointsOf(folder)).toEqual(['latest', 'step-00000004']);
    expect(tensorsOf(folder, 'step-00000004')[0]!.length).toBeGreaterThan(65536);
  });
});
