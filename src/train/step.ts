/** One update of the parameters. */
import { noGrad } from '../autograd/index.js';
import type { Batch } from '../data/loader.js';
import type { GPT } from '../model/gpt.js';
import { add, mul } from '../ops/index.js';
import type { Optimizer } from '../optim/optimizer.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { inDtype } from './amp.js';
import type { TrainConfig } from './config.js';
import { labelsThatCount, tensorsOf } from './evaluate.js';

/**
 * Records the gradient of the mean loss over all labels of the batches that count, as if they were one batch, and the
 * update. Nothing waits.
 * @returns that mean, a scalar: the caller's to dispose
 */
export function recordStep(
  model: GPT,
  optimizer: Optimizer,
  batches: readonly Batch[],
  { amp }: Pick<TrainConfig, 'amp'>,
): Tensor {
  return scope(() => {
    const counts = batches.length > 1 ? batches.map(labelsThatCount) : [1];
    const all = counts.reduce((a, b) => a + b, 0);
    let total: Tensor | undefined;
    batches.forEach((batch, i) => {
      const loss = scope(() => {
        const [ids, labels] = tensorsOf(batch);
        const mean = inDtype(amp, () => model.objective(ids, labels));
        // Σ counts[i] mean[i] / all: one batch of all rows would have that loss, and that gradient.
        const loss = batches.length > 1 ? mul(mean, counts[i]! / all) : mean;
        loss.backward();
        return loss;
      });
      total = total ? noGrad(() => add(total!, loss)) : loss;
    });
    optimizer.step();
    optimizer.zeroGrad();
    return total!;
  });
}
