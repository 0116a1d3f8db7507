/** Tables of rows looked up by number, and the fixed table of sinusoids. */
import { embedding } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { tensor } from '../tensor/tensor.js';
import { checkSizes } from './check.js';
import { type Init, normal } from './init.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';

/** Rows of weight [count, dim] by ids of any shape: [..., dim]. */
export class Embedding extends Module {
  readonly weight: Parameter;

  constructor(
    readonly count: number,
    readonly dim: number,
    { init = normal(1) }: { init?: Init } = {},
  ) {
    super();
    checkSizes('Embedding', { count, dim });
    this.weight = new Parameter(init([count, dim]), { role: 'table' });
  }

  /** @param ids int32, each from 0 to count - 1; IndexError otherwise, when the op runs */
  forward(ids: Tensor): Tensor {
    return embedding(this.weight, ids);
  }
}

/** [length, dim]: sines of t / 10000^(2i/dim) in even channels, cosines in odd ones (Vaswani et al., 2017). */
export function sinusoids(length: number, dim: number): Tensor {
  checkSizes('sinusoids', { length, dim });
  const values = new Float32Array(length * dim);
  for (let t = 0; t < length; t++)
    for (let c = 0; c < dim; c++) {
      const angle = t / 10000 ** ((c - (c % 2)) / dim);
      values[t * dim + c] = c % 2 ? Math.cos(angle) : Math.sin(angle);
    }
  return tensor(values, [length, dim]);
}
