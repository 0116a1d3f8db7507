/** The loss of a model on a split. */
import { noGrad } from '../autograd/index.js';
import { IGNORED, type Split } from '../data/data.js';
import type { Batch, Loader } from '../data/loader.js';
import type { GPT } from '../model/gpt.js';
import { DataError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import { inDtype } from './amp.js';
import type { TrainConfig } from './config.js';

export interface Evaluation {
  /** Mean over the labels that count, in nats. */
  loss: number;
  tokens: number;
  batches: number;
}

/**
 * Over the first `batches` batches of a split, as the model's `loss` says, in evaluation mode and without gradients.
 * @throws DataError where the split has none
 */
export async function evaluate(
  model: GPT,
  loader: Loader,
  split: Split,
  { batches = Number.POSITIVE_INFINITY, amp = 'none' }: { batches?: number; amp?: TrainConfig['amp'] } = {},
): Promise<Evaluation> {
  const count = Math.min(batches, loader.batches(split));
  if (!(count > 0 && count < Number.POSITIVE_INFINITY))
    throw new DataError(`'${split}' of '${loader.info.name}' has ${count} batches`, {
      op: 'evaluate',
      hint: count > 0 ? 'say how many to read' : 'use more data, shorter rows or another split',
    });
  const { training } = model;
  model.eval();
  try {
    let [sum, counted, tokens] = [0, 0, 0];
    let before: { loss: Promise<number>; labels: number } | undefined;
    const add = async ({ loss, labels }: NonNullable<typeof before>) => {
      if (labels > 0) sum += labels * (await loss);
      counted += labels;
    };
    for (let i = 0; i < count; i++) {
      const batch = await loader.batch(split, i);
      tokens += batch.ids.length;
      const loss = scope(() => {
        const [ids, labels] = tensorsOf(batch);
        return noGrad(() => inDtype(amp, () => model.loss(ids, labels)));
      });
      const read = { loss: loss.item(), labels: labelsThatCount(batch) };
      loss.dispose();
      read.loss.catch(() => undefined); // told where it is awaited, or by the one before
      if (before) await add(before);
      before = read;
    }
    if (before) await add(before);
    return { loss: counted > 0 ? sum / counted : Number.NaN, tokens, batches: count };
  } finally {
    model.train(training);
  }
}

/** ids and labels [batch, length] */
export function tensorsOf({ ids, labels, batch, length }: Batch): [ids: Tensor, labels: Tensor] {
  return [tensor(ids, [batch, length]), tensor(labels, [batch, length])];
}

export function labelsThatCount({ labels }: Batch): number {
  let count = 0;
  for (let i = 0; i < labels.length; i++) if (labels[i] !== IGNORED) count++;
  return count;
}
