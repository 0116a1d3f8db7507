/**
 * Golden curves: PyTorch trained these models for ten steps (fixtures/make_golden.py says how); from the same weights
 * and data the same losses and weights must come out, on the CPU, on Vulkan, and in bfloat16.
 */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { autocast, scope } from '../src/index.js';
import { GPT, type GPTConfig } from '../src/model/index.js';
import { type Parameter, parametersByRole } from '../src/nn/index.js';
import { AdamW, Muon, type Optimizer, schedule } from '../src/optim/index.js';
import { Runtime, useRuntime } from '../src/runtime/runtime.js';
import { sizeOf } from '../src/tensor/shape.js';
import { tensor } from '../src/tensor/tensor.js';
import { sides } from './support/sides.js';

interface Golden {
  config: GPTConfig;
  optimizer: {
    maxNorm: number;
    adamw: { lr: number; betas: [number, number]; eps: number; weightDecay: number };
    muon?: { lr: number; momentum: number; weightDecay: number };
    schedule: { warmup: number; total: number; floor: number };
  };
  parameters: [name: string, shape: number[]][];
  batches: { ids: number[][]; labels: number[][] }[];
  losses: number[];
  gradNorms: number[];
  bfloat16Losses: number[];
}

const folder = new URL('./fixtures/', import.meta.url);

function load(name: string) {
  const golden: Golden = JSON.parse(readFileSync(new URL(`golden-${name}.json`, folder), 'utf8'));
  const bytes = readFileSync(new URL(`golden-${name}.bin`, folder));
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  let at = 0;
  const weights = () =>
    new Map(
      golden.parameters.map(([key, shape]) => [key, values.subarray(at, (at += sizeOf(shape)))] as const),
    );
  return { golden, start: weights(), end: weights() };
}

function optimizerOf(model: GPT, { optimizer: { maxNorm, adamw, muon } }: Golden): Optimizer {
  const { hidden, tables, vectors } = parametersByRole(model);
  const groups = (matrices: Parameter[]) => [{ params: matrices }, { params: vectors, weightDecay: 0 }];
  return muon
    ? new Muon(hidden, { ...muon, maxNorm, adamw: { ...adamw, params: groups(tables) } })
    : new AdamW(groups([...tables, ...hidden]), { ...adamw, maxNorm });
}

/** The largest difference as a fraction of the largest element. */
function furthest(got: ArrayLike<number>, want: Float32Array): number {
  let worst = 0;
  let scale = 0;
  want.forEach((v, i) => {
    worst = Math.max(worst, Math.abs(got[i]! - v));
    scale = Math.max(scale, Math.abs(v));
  });
  return worst / scale;
}

/** |got - want| / |want|: a step of Adam's begins as the gradient's sign, and rounding to halves turns the smallest. */
function distance(got: ArrayLike<number>, want: Float32Array): number {
  let apart = 0;
  let scale = 0;
  want.forEach((v, i) => {
    apart += (got[i]! - v) ** 2;
    scale += v ** 2;
  });
  return Math.sqrt(apart / scale);
}

describe.each(sides)('on $side', ({ options }) => {
  let runtime: Runtime;
  beforeEach(() => {
    runtime = new Runtime(options);
    useRuntime(runtime);
  });
  afterEach(() => {
    useRuntime(undefined);
    runtime.dispose();
  });

  it.each([
    { name: 'adamw', half: false, tolerance: 1e-4 },
    { name: 'muon', half: false, tolerance: 1e-4 },
    { name: 'adamw', half: true, tolerance: 2e-2 },
    { name: 'muon', half: true, tolerance: 2e-2 },
  ])('repeats ten steps: $name, bfloat16 $half', async ({ name, half, tolerance }) => {
    const { golden, start, end } = load(name);
    const model = new GPT(golden.config);
    const named = [...model.namedParameters()];
    expect(named.map(([key, p]) => [key, [...p.shape]])).toEqual(golden.parameters);
    scope(() => {
      model.loadStateDict(
        Object.fromEntries(golden.parameters.map(([key, shape]) => [key, tensor(start.get(key)!, shape)])),
      );
    });
    const optimizer = optimizerOf(model, golden);
    const factor = schedule.cosine(golden.optimizer.schedule);
    const losses: number[] = [];
    for (const [step, { ids, labels }] of golden.batches.entries()) {
      const loss = scope(() => {
        const given = [ids, labels].map((rows) =>
          tensor(Int32Array.from(rows.flat()), [rows.length, rows[0]!.length]),
        );
        const run = () => model.loss(given[0]!, given[1]!);
        const loss = half ? autocast('bfloat16', run) : run();
        loss.backward();
        return loss;
      });
      optimizer.lrFactor = factor(step);
      optimizer.step();
      optimizer.zeroGrad();
      losses.push(await loss.item());
      loss.dispose();
      const norm = await optimizer.gradNorm();
      expect(Math.abs(norm / golden.gradNorms[step]! - 1), `gradient norm at step ${step}`).toBeLessThan(
        tolerance,
      );
    }
    losses.forEach((loss, step) => {
      expect(Math.abs(loss / golden.losses[step]! - 1), `loss at step ${step}`).toBeLessThan(tolerance);
      if (half)
        expect(Math.abs(loss / golden.bfloat16Losses[step]! - 1), `bf16 loss at step ${step}`).toBeLessThan(
          tolerance,
        );
    });
    for (const [key, p] of named)
      expect((half ? distance : furthest)(await p.data(), end.get(key)!), `${key} at the end`).toBeLessThan(
        tolerance,
      );
    optimizer.dispose();
    model.dispose();
    expect(runtime.tensors).toBe(0);
  });
});
