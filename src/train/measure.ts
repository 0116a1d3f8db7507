/** The row that an evaluation in the course of a run gives. */
import type { TrainConfig } from './config.js';
import { evaluate } from './evaluate.js';
import type { MetricsRow } from './hook.js';
import { rowOf } from './meter.js';
import type { Opened } from './open.js';

/** Of as many batches of 'val' as the configuration says; of all of 'test', where it ends. */
export async function measure(
  { model, loader, optimizer, runtime }: Opened,
  { eval: evaluation, amp }: TrainConfig,
  split: 'val' | 'test',
  step: number,
): Promise<MetricsRow> {
  const whole = split === 'test' && Number.isFinite(loader.batches(split));
  const began = performance.now();
  const { loss, tokens, batches } = await evaluate(model, loader, split, {
    batches: whole ? undefined : evaluation.batches,
    amp,
  });
  const ms = performance.now() - began;
  const { host, device } = await runtime.takePeak();
  return rowOf(loader.info, {
    step,
    split,
    loss,
    tokens,
    steps: batches,
    ms,
    peak: host + device,
    lr: optimizer.paramGroups[0]!.lr * optimizer.lrFactor,
    gradNorm: null,
  });
}
