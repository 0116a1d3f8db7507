/** Whether a checkpoint is of the run that a configuration describes. */
import { CheckpointError } from '../runtime/errors.js';
import { log } from '../runtime/log.js';
import type { RunConfig } from './config.js';

/** What decides about every bit of a step. */
const decisive = ({ seed, data, model, train }: RunConfig) => {
  const { accumulate, amp, clip, optimizer } = train;
  return { seed, data, model, train: { accumulate, amp, clip, optimizer } };
};

/** What may change when a run goes on, but bends its curve. */
const bending = ({ train: { steps, schedule, nan, eval: evaluation, earlyStop } }: RunConfig) => ({
  train: { steps, schedule, nan, eval: evaluation, earlyStop },
});

/**
 * @throws CheckpointError that lists what differs
 */
export function checkSameRun(folder: string, now: RunConfig, then: RunConfig): void {
  const different = differences(decisive(then), decisive(now));
  if (different.length > 0)
    throw new CheckpointError(`${folder} is of another configuration:\n  ${different.join('\n  ')}`, {
      hint: 'resume with the config.yaml of its run, or begin a new run, with its weights by train.init',
    });
  const bent = differences(bending(then), bending(now));
  if (bent.length > 0)
    log('warn', `the run goes on under another configuration, and its curve may differ: ${bent.join(', ')}`);
}

/** 'model.dim: 64 then, 32 now', one for each leaf. */
export function differences(then: unknown, now: unknown, path = ''): string[] {
  if (isObject(then) && isObject(now)) {
    const keys = [...new Set([...Object.keys(then), ...Object.keys(now)])];
    return keys.flatMap((key) => differences(then[key], now[key], path ? `${path}.${key}` : key));
  }
  const [a, b] = [JSON.stringify(then), JSON.stringify(now)];
  return a === b ? [] : [`${path}: ${a ?? 'absent'} then, ${b ?? 'absent'} now`];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
