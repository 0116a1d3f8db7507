/** How often a model's best guess is right, of data where few tokens are to be told. */
import { noGrad } from '../autograd/index.js';
import { IGNORED, type Split } from '../data/data.js';
import type { Loader } from '../data/loader.js';
import type { GPT } from '../model/gpt.js';
import { argmax } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import { inDtype } from './amp.js';
import type { TrainConfig } from './config.js';
import { labelsThatCount, tensorsOf } from './evaluate.js';

/**
 * The share of the labels that count which are the token of the greatest logit, over the first `batches` batches of a
 * split; null where every token counts, as in running text.
 */
export async function accuracy(
  model: GPT,
  loader: Loader,
  split: Split,
  { batches, amp }: { batches: number; amp: TrainConfig['amp'] },
): Promise<number | null> {
  const { training } = model;
  model.eval();
  try {
    let [right, counted, read] = [0, 0, 0];
    for (let i = 0; i < batches; i++) {
      const batch = await loader.batch(split, i);
      counted += labelsThatCount(batch);
      read += batch.ids.length;
      if (counted === read) return null;
      const guesses = await scope(() => {
        const [ids] = tensorsOf(batch);
        return noGrad(() => inDtype(amp, () => argmax(model.forward(ids), { axis: -1 }).data()));
      });
      for (const [at, label] of batch.labels.entries())
        if (label !== IGNORED && guesses[at] === label) right++;
    }
    return counted > 0 ? right / counted : null;
  } finally {
    model.train(training);
  }
}
