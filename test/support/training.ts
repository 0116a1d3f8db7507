/** Training in this process. */
import { afterEach, beforeEach, expect } from 'vitest';
import { setLogger } from '../../src/index.js';
import { Runtime, useRuntime } from '../../src/runtime/runtime.js';
import type { RunConfig } from '../../src/train/config.js';
import { Trainer, type TrainerOptions } from '../../src/train/index.js';
import { inThread } from './runs.js';
import { cpu } from './sides.js';

/** Of the test that runs. */
export interface Here {
  runtime: Runtime;
  /** What was logged: 'warn: …'. */
  said: string[];
}

/** Each test of the file has the CPU's runtime to itself, and leaves no tensor in it. */
export function onCpu(): Here {
  const here = { said: [] } as unknown as Here;
  beforeEach(() => {
    here.runtime = new Runtime(cpu.options);
    useRuntime(here.runtime);
    here.said = [];
    setLogger((level, message) => here.said.push(`${level}: ${message}`));
  });
  afterEach(() => {
    setLogger(undefined);
    useRuntime(undefined);
    expect(here.runtime.tensors, 'tensors left').toBe(0);
    here.runtime.dispose();
  });
  return here;
}

/** Trains to the end, or to where `before` lets it end, which is given what was opened. */
export async function train(config: RunConfig, options: TrainerOptions, before?: (trainer: Trainer) => void) {
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
