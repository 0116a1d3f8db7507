/** The training loop: what it computes, what it writes, and what evaluations decide. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { IGNORED } from '../src/data/data.js';
import { mul, noGrad, scope, tensor } from '../src/index.js';
import { generator } from '../src/tensor/generator.js';
import type { Hook } from '../src/train/hook.js';
import { evaluate, Trainer } from '../src/train/index.js';
import { loadRunConfig } from '../src/train/run-config.js';
import { refused } from './support/errors.js';
import { temporary } from './support/folders.js';
import { checkpointsOf, memoryLoader, rowsOf, runConfig, textFile } from './support/runs.js';
import { onCpu, train } from './support/training.js';

onCpu();

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

  it('tells the most bytes alive in the steps of a row: not of evaluating or saving', async () => {
    const home = temporary();
    const bytes: number[] = [];
    const hook: Hook = {
      async saving() {
        using large = tensor(new Float32Array(5e6));
        await large.data();
      },
      logged: ({ split, peakMb }) => void (split === 'train' && bytes.push(peakMb)),
    };
    const config = runConfig(textFile(home), {
      train: { steps: 6, log: { every: 3 }, checkpoint: { every: 3 } },
    });
    await train(config, { folder: join(home, 'run'), hooks: [hook] });
    expect(bytes).toHaveLength(2);
    for (const mb of bytes) expect(mb).toBeGreaterThan(0.1);
    for (const mb of bytes) expect(mb).toBeLessThan(10); // the large one has 20
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

  it('saves the best when it comes, and keeps it', async () => {
    const home = temporary();
    const config = runConfig(textFile(home), {
      train: { steps: 8, eval: { every: 2, batches: 1 }, checkpoint: { keep: 1 } },
    });
    const folder = join(home, 'run');
    const { outcome } = await train(config, { folder }, (trainer) => {
      const usual = trainer.model.loss.bind(trainer.model);
      trainer.model.loss = (...args) => mul(usual(...args), trainer.step > 4 ? 10 : 1);
    });
    expect(outcome.best!.step).toBe(4);
    expect(checkpointsOf(folder)).toEqual(['best', 'latest', 'step-00000004', 'step-00000008']);
    expect(readFileSync(join(folder, 'checkpoints/best'), 'utf8')).toBe('step-00000004\n');
  });
});
