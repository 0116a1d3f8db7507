/** How states forget: α = sigmoid(logit)^(1 / 16), as in gated linear attention (Yang et al., arXiv:2312.06635, §4). */
import { logSigmoid, mul } from '../../ops/index.js';
import { type Tensor, tensor } from '../../tensor/tensor.js';
import { wide } from './heads.js';

const TEMPERATURE = 16;

/** ln α of logits, float32 whatever they are. */
export const logDecay = (logits: Tensor): Tensor => mul(logSigmoid(wide(logits)), 1 / TEMPERATURE);

/**
 * Biases with which a head remembers 1 / (1 - α) tokens, from 16 to 1024 over its `channels`, evenly in the logarithm:
 * [heads channels]. With biases of 0 all would remember 23, and learn to remember more only slowly.
 */
export function memories(heads: number, channels: number): Tensor {
  const logit = (tokens: number) => -Math.log(Math.expm1(TEMPERATURE / tokens));
  const of = (c: number) => logit(TEMPERATURE * 64 ** (c / Math.max(1, channels - 1)));
  return tensor(Float32Array.from({ length: heads * channels }, (_, i) => of(i % channels)));
}
