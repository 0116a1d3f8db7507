/** Early exit: the first layer that is sure enough has the say. */
import { noGrad } from '../autograd/modes.js';
import { evaluating, type Module } from '../nn/module.js';
import { max, slice } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { doubt, judged, type Layered, type Objective } from './objectives.js';

export interface ExitOptions {
  /** The probability, of the likeliest token after the last one of every row, at which a layer's logits are taken. */
  confidence?: number;
  /** Tokens that may be seen: bool [batch, length]. */
  mask?: Tensor;
}

/**
 * Runs layers until p ≥ confidence after the last token of every row, at the last layer in any case: as the objectives of
 * early exit stop, by a bound instead of a draw. In exit5 and exit6 the next layer judges: one more runs than has the say.
 * No gradient flows, no label is read, nothing is dropped out.
 * @returns logits [batch, length, vocab], and the number of the layer, from 1, that gave them
 */
export async function exitOf(
  objective: Objective,
  model: Layered & Module,
  ids: Tensor,
  { confidence = 0.9, mask }: ExitOptions = {},
): Promise<{ logits: Tensor; layer: number }> {
  const op = 'GPT.exit';
  if (objective === 'last')
    throw new ArgumentError("the objective is 'last'", {
      op,
      hint: "no layer but the last has learned to speak: train with objective 'all' or a form of exit",
    });
  if (!(confidence >= 0 && confidence <= 1))
    throw new ArgumentError(`confidence is ${String(confidence)}`, { op, hint: 'it is a probability' });
  const L = model.applications;
  return noGrad(() =>
    scope(async () => {
      let r = evaluating(model, () => model.embed(ids));
      let before: Tensor | undefined;
      for (let layer = 1; ; layer++) {
        const of = r;
        r = evaluating(model, () => model.apply(layer - 1, of, { mask }));
        const logits = model.unembed(r);
        if (judged(objective)) {
          if (before && (await sure(logits, confidence))) return { logits: before, layer: layer - 1 };
        } else if (layer < L && (await sure(logits, confidence))) return { logits, layer };
        if (layer === L) return { logits, layer };
        before = logits;
      }
    }),
  );
}

/** Whether all rows predict what follows their last token with at least this probability. */
async function sure(logits: Tensor, confidence: number): Promise<boolean> {
  const [batch, length] = logits.shape as [number, number, number];
  if (batch === 0 || length === 0) return false;
  const last = slice(logits, { starts: [0, length - 1], ends: [batch, length] });
  const most = await max(doubt(last)).item();
  return 1 / (1 + Math.exp(most)) >= confidence;
}
