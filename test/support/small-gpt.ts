/** A GPT of two small layers, and tokens for it. */
import { type GPTConfig, type Tensor, tensor } from '../../src/index.js';

export const small: GPTConfig = { vocab: 11, layers: 2, dim: 16, heads: 4, length: 8 };

/** int32 [batch, length] */
export const ids = (batch: number, length: number, step = 3): Tensor =>
  tensor(
    Int32Array.from({ length: batch * length }, (_, i) => (i * step + 1) % small.vocab),
    [batch, length],
  );
