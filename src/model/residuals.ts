/** How large the residual stream is, layer by layer: the table by which the block forms are told apart. */
import { noGrad } from '../autograd/modes.js';
import { evaluating } from '../nn/module.js';
import { concat, mean, mul, sqrt, square, sub, sum } from '../ops/index.js';
import { keep, scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { GPT } from './gpt.js';

/** Standard deviations over the channels (with Bessel's correction), in the mean over tokens, after one layer. */
export interface ResidualRow {
  /** From 1. */
  layer: number;
  /** Of the residual stream after the layer. */
  residual: number;
  /** Of y in the block's formula: the stream between attention and MLP; of 'axm', what is added to it. */
  mid: number;
  /** Of norm(residual): what the next layer, or the head, reads. */
  next: number;
}

/**
 * One forward pass at ids [batch, length], without dropout or gradients. Of a layer norm without gain and bias,
 * next = s / √(s² (C - 1) / C + eps) of a token whose stream has deviation s over C channels.
 */
export function residualStats(model: GPT, ids: Tensor): Promise<ResidualRow[]> {
  // All is recorded when this returns.
  return evaluating(model, () => noGrad(() => scope(() => measured(model, ids))));
}

async function measured(model: GPT, ids: Tensor): Promise<ResidualRow[]> {
  const figures: Tensor[] = [];
  let r = model.embed(ids);
  for (let i = 0; i < model.applications; i++) {
    let mid: Tensor | undefined;
    r = model.apply(i, r, {
      watch: (y) => {
        mid = keep(deviation(y)); // the block's scope ends before it is read
      },
    });
    const norm = model.config.shared ? model.norm : (model.blocks[i + 1]?.norm1 ?? model.norm);
    figures.push(deviation(r), mid!, deviation(norm?.forward(r) ?? r));
  }
  const all = concat(figures, { axis: 0 });
  for (const figure of figures) figure.dispose();
  const values = await all.data();
  return Array.from({ length: model.applications }, (_, i) => {
    const [residual, mid, next] = values.subarray(3 * i, 3 * i + 3) as Float32Array;
    return { layer: i + 1, residual: residual!, mid: mid!, next: next! };
  });
}

/** Of x [batch, length, C]: the mean over tokens of √(Σ (x - mean)² / (C - 1)), as [1]. */
function deviation(x: Tensor): Tensor {
  const channels = x.shape.at(-1)!;
  const centred = sub(x, mean(x, { axis: -1, keepDims: true }));
  const variance = mul(sum(square(centred), { axis: -1 }), 1 / Math.max(1, channels - 1));
  return mean(sqrt(variance)).reshape([1]);
}
