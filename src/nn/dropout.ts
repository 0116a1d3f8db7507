/** Dropout (Srivastava et al., JMLR 2014). */
import { dropout } from '../ops/index.js';
import { type Generator, generator } from '../tensor/generator.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkProbability, checkTensor } from './check.js';
import { Module } from './module.js';

/** While training, each element is 0 with probability p and 1 / (1 - p) times itself otherwise. */
export class Dropout extends Module {
  constructor(
    readonly p = 0.5,
    /** What draws the masks; the one that `manualSeed` seeds by default. */
    readonly random: Generator = generator,
  ) {
    super();
    checkProbability('Dropout', p, 'p');
  }

  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropoutOf(x, this.p, this.random) : x;
  }
}

export function dropoutOf(x: Tensor, p: number, random = generator): Tensor {
  checkTensor('Dropout', 'x', x);
  const state = random.next(x.runtime);
  try {
    return dropout(x, state, { p });
  } finally {
    state.dispose();
  }
}
