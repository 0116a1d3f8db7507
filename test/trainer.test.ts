/** The training loop: what it computes, what it writes, when it ends, and what it refuses before it begins. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { IGNORED } from '../src/data/data.js';
import { mul, noGrad, scope, setLogger, tensor } from '../src/index.js';
import { loadModel } from '../src/io/model-folder.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { generator } from '../src/tensor/generator.js';
import type { RunConfig } from '../src/train/config.js';
import type { Hook, MetricsRow } from '../src/train/hook.js';
import { evaluate, Trainer, type TrainerOptions } from '../src/train/index.js';
import { loadRunConfig } from '../src/train/run-config.js';
import { checkRoom } from '../src/train/storage.js';
import { entryUrl } from './support/child.js';
import { failureOf, refused } from './support/errors.js';
import { temporary } from './support/folders.js';
import {
  checkpointsOf,
  inThread,
  memoryLoader,
  rowsOf,
  runConfig,
  tensorsOf,
  textFile,
} from './support/runs.js';
import { cpu } from './support/sides.js';

let runtime: Runtime;
let said: string[] = [];
beforeEach(() => {
  runtime = new Runtime(cpu.options);
  useRuntime(runtime);
  said = [];
  setLogger((level, message) => said.push(`${level}: ${message}`));
});
afterEach(() => {
  setLogger(undefined);
  useRuntime(undefined);
  expect(runtime.tensors, 'tensors left').toBe(0);
  runtime.dispose();
});

/** Trains to the end; `before` may change what was opened. */
async function train(config: RunConfig, options: TrainerOptions, before?: (trainer: Trainer) => void) {
  const trainer = await Trainer.open(config, {
    ...options,
    loader: options.loader ?? (await inThread(config)),
  });
  try {
    before?.(trainer);
    const outcome = await trainer.run();
    const weights = await Promise.all(trainer.model.parameters().map((p) => p.data()));
    return { outcome, weights: weights as Float32Array[] };
  } finally {
    await trainer.close();
  }
}

const closeTo = (a: Float32Array[], b: Float32Array[]): number =>
  Math.max(...a.flatMap((x, i) => Array.from(x, (v, k) => Math.abs(v - b[i]![k]!))));

describe('a run', () => {
  it('learns, and leaves its folder: configuration, manifest, metrics, events, checkpoints', async () => {
    const home = temporary();
    const folder = join(home, 'run');
    const config = runConfig(textFile(home), {
      train: {
        steps: 60,
        log: { every: 10, entropy: 20, residuals: 30, tensorboard: true },
        eval: { every: 20, batches: 2, test: true },
        checkpoint: { every: 20, keep: 1 },
        optimizer: { kind: 'adamw', lr: 0.01 },
      },
    });
    const { outcome } = await train(config, { folder });
    expect(outcome).toMatchObject({ reason: 'steps', step: 60, skipped: 0 });
    const text = readFileSync(join(folder, 'metrics.csv'), 'utf8');
    expect(text.split('\n')[0]).toBe(
      'step,split,loss,perplexity,bpb,tokens_per_sec,step_time_ms,peak_mb,lr,grad_norm',
    );
    const rows = rowsOf(folder);
    expect(rows.map(({ step, split }) => `${step} ${split}`)).toEqual([
      ...['10 train', '20 train', '20 val', '30 train', '40 train', '40 val', '50 train'],
      ...['60 train', '60 val', '60 test'],
    ]);
    const losses = rows.filter(({ split }) => split === 'train').map(({ loss }) => Number(loss));
    expect(losses.at(-1)!).toBeLessThan(losses[0]! - 1);
    for (const { loss, perplexity, bpb, split, grad_norm } of rows) {
      expect(Number(perplexity)).toBeCloseTo(Math.exp(Number(loss)), 6);
      expect(Number(bpb)).toBeCloseTo(Number(loss) / Math.LN2, 6); // a token is a byte
      expect(grad_norm === '').toBe(split !== 'train');
    }
    expect(outcome.best!.loss).toBe(
      Math.min(...rows.filter((r) => r.split === 'val').map((r) => Number(r.loss))),
    );
    expect(loadRunConfig(join(folder, 'config.yaml'))).toEqual({ ...config });
    const manifest = JSON.parse(readFileSync(join(folder, 'run.json'), 'utf8'));
    expect(manifest).toMatchObject({
      name: 'small',
      seed: 3,
      sessions: [{ from: 0, to: 60, outcome: 'steps' }],
    });
    expect(manifest.parameters).toBeGreaterThan(2 * 12 * 32 * 32);
    expect(manifest.sessions[0].place).toMatchObject({ route: 'cpu', device: null });
    const best = `step-${String(outcome.best!.step).padStart(8, '0')}`;
    expect(checkpointsOf(folder)).toEqual([...new Set(['best', 'latest', best, 'step-00000060'])].sort());
    expect(readFileSync(join(folder, 'checkpoints', 'latest'), 'utf8')).toBe('step-00000060\n');
    expect(readFileSync(join(folder, 'checkpoints', 'best'), 'utf8')).toBe(`${best}\n`);
    expect(readdirSync(folder).filter((name) => name.startsWith('events.out.'))).toHaveLength(1);
    expect(
      rowsOf(folder, 'entropy_log.csv').map(({ step, layer, head }) => [step, layer, head].join()),
    ).toEqual(['20', '40', '60'].flatMap((s) => ['0,0', '0,1', '1,0', '1,1'].map((at) => `${s},${at}`)));
    expect(rowsOf(folder, 'residuals.csv').map(({ step, layer }) => `${step},${layer}`)).toEqual([
      ...['30,1', '30,2', '60,1', '60,2'],
    ]);
  });

  it('repeats bit for bit, whatever is logged', async () => {
    const home = temporary();
    const path = textFile(home);
    const quiet = runConfig(path, { train: { log: { every: 4 } } });
    const talkative = runConfig(path, {
      train: { log: { every: 1, entropy: 1, residuals: 1 }, eval: { every: 5 }, checkpoint: { every: 4 } },
    });
    const [a, b] = [
      await train(quiet, { folder: join(home, 'a') }),
      await train(talkative, { folder: join(home, 'b') }),
    ];
    expect(a.weights).toEqual(b.weights);
  });

  it('takes batches to an update as one batch of all their rows, labels that do not count among them', async () => {
    const home = temporary();
    const label = (_: number, row: number, at: number, value: number) =>
      at < 3 * (row % 5) ? IGNORED : value;
    const config = (accumulate: number, kind: 'adamw' | 'muon') =>
      runConfig(textFile(home), {
        model: { dropout: 0 },
        train: { steps: 4, accumulate, optimizer: { kind } },
      });
    for (const kind of ['adamw', 'muon'] as const) {
      const one = await train(config(1, kind), {
        folder: join(home, `${kind}1`),
        loader: memoryLoader({ batch: 4, label }),
      });
      const four = await train(config(4, kind), {
        folder: join(home, `${kind}4`),
        loader: memoryLoader({ batch: 1, label }),
      });
      expect(closeTo(one.weights, four.weights)).toBeLessThan(1e-4);
      const losses = ['1', '4'].map((n) => Number(rowsOf(join(home, `${kind}${n}`))[0]!.loss));
      expect(losses[1]).toBeCloseTo(losses[0]!, 5);
    }
  });

  it('computes products in bfloat16 where asked to, near float32', async () => {
    const home = temporary();
    const path = textFile(home);
    const run = (amp: 'none' | 'bfloat16') =>
      train(runConfig(path, { train: { amp } }), { folder: join(home, amp) });
    const [exact, half] = [await run('none'), await run('bfloat16')];
    expect(exact.weights).not.toEqual(half.weights);
    expect(half.outcome.val!.loss).toBeCloseTo(exact.outcome.val!.loss, 1);
    expect(half.outcome.val!.loss).not.toBe(exact.outcome.val!.loss);
  });

  it('follows its schedule, and clips', async () => {
    const folder = temporary();
    const config = runConfig('none.txt', {
      train: {
        steps: 6,
        log: { every: 1 },
        clip: 1e-3,
        schedule: { kind: 'linear', warmup: 2, floor: 0.5 },
        optimizer: { kind: 'adamw', lr: 0.01 },
      },
    } as never);
    await train(config, { folder: join(folder, 'run'), loader: memoryLoader({ batch: 2 }) });
    const rows = rowsOf(join(folder, 'run')).filter(({ split }) => split === 'train');
    const wanted = [0.005, 0.01, 0.01, 0.00875, 0.0075, 0.00625];
    expect(rows.map(({ lr }) => Number(Number(lr).toPrecision(6)))).toEqual(wanted);
    for (const { grad_norm } of rows) expect(Number(grad_norm)).toBeGreaterThan(1e-3); // before clipping
  });

  it('begins with the weights of another run', async () => {
    const home = temporary();
    const path = textFile(home);
    const first = await train(runConfig(path), { folder: join(home, 'a') });
    const init = join(home, 'a/checkpoints/step-00000012');
    let begun: Float32Array[] = [];
    const look: Hook = {
      async begin({ model }) {
        begun = (await Promise.all(model.parameters().map((p) => p.data()))) as Float32Array[];
      },
    };
    await train(runConfig(path, { train: { init, steps: 2 } }), { folder: join(home, 'b'), hooks: [look] });
    expect(begun).toEqual(first.weights);
    const wider = runConfig(path, { model: { dim: 64 }, train: { init } });
    await refused(() => Trainer.open(wider, { folder: join(home, 'c') }), 'ATTN_CHECKPOINT', /another model/);
    expect(existsSync(join(home, 'c'))).toBe(false);
  });
});

describe('evaluation', () => {
  it('is the mean over the labels that count, without dropout, and draws nothing', async () => {
    const home = temporary();
    const label = (_: number, row: number, at: number, value: number) => (at < 2 * row ? IGNORED : value);
    const loader = memoryLoader({ batch: 2, label });
    const trainer = await Trainer.open(runConfig(textFile(home), { model: { dropout: 0.5 } }), {
      folder: join(home, 'run'),
      loader,
    });
    const before = generator.state;
    const { loss, batches } = await evaluate(trainer.model, loader, 'val');
    expect(batches).toBe(4);
    expect(generator.state).toEqual(before);
    expect(trainer.model.training).toBe(true);
    let [sum, count] = [0, 0];
    trainer.model.eval();
    for (let row = 0; row < 8; row++) {
      const all = await loader.batch('val', row >> 1);
      const of = (values: Int32Array) => tensor(values.slice((row % 2) * 16, (row % 2) * 16 + 16), [1, 16]);
      const one = await scope(() => noGrad(() => trainer.model.loss(of(all.ids), of(all.labels)).item()));
      const n = 16 - Math.min(16, 2 * row);
      sum += n * one;
      count += n;
    }
    expect(loss).toBeCloseTo(sum / count, 5);
    await trainer.close();
  });

  it('ends training that gets no better, and keeps the best', async () => {
    const home = temporary();
    const config = runConfig(textFile(home), {
      train: {
        steps: 40,
        eval: { every: 2 },
        earlyStop: { patience: 2, delta: 100 },
        checkpoint: { keep: 1 },
      },
    });
    const folder = join(home, 'run');
    const { outcome } = await train(config, { folder });
    expect(outcome).toMatchObject({ reason: 'early stop', step: 6, best: { step: 6 } });
    expect(outcome.detail).toMatch(/2 evaluations without/);
    expect(checkpointsOf(folder)).toEqual(['best', 'latest', 'step-00000006']);
  });
});

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
    expect(said.join()).toContain('step 6: 1 steps so far were not finite');
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
    expect(said.join()).toMatch(/at the end of the run: .*cannot write .*run\.json.*mine as well/s);
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
    expect(said.filter((s) => s.includes("'linear'"))).toHaveLength(1);
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
