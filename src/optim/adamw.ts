/** AdamW (Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019). */
import { adamwRow } from '../ops/adamw.js';
import { adamwStep } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { groupsOf, Optimizer, type OptimizerOptions, type ParamGroup, type Params } from './optimizer.js';

export interface AdamWHyper {
  /** Learning rate. Default 1e-3. */
  lr: number;
  /** Decay of the means of gradients and of their squares. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** Added to the root of the mean square. Default 1e-8. */
  eps: number;
  /** Decoupled: p -= lr weightDecay p. Default 0.01. */
  weightDecay: number;
}

export const adamwDefaults: AdamWHyper = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 };

export const adamwRowOf = ({ lr, betas, eps, weightDecay }: AdamWHyper, factor: number): number[] =>
  adamwRow(lr * factor, weightDecay, eps, betas[0], betas[1]);

/** AdamW over flat arenas: the norm of the gradients in one op, the step of all parameters in another. */
export class AdamW extends Optimizer {
  declare readonly paramGroups: readonly ParamGroup<AdamWHyper>[];

  constructor(params: Params<AdamWHyper>, options: Partial<AdamWHyper> & OptimizerOptions = {}) {
    const { maxNorm, ...hyper } = options;
    super(
      'AdamW',
      [
        {
          groups: groupsOf('AdamW', params, adamwDefaults, hyper),
          row: (group, factor) => adamwRowOf(group as ParamGroup<AdamWHyper>, factor),
          moments: ['m', 'v'],
        },
      ],
      { maxNorm },
    );
  }

  protected update(scalars: Tensor, active: readonly boolean[]): void {
    const run = this.runs[0]!;
    const { m, v } = run.moments as { m: Tensor; v: Tensor };
    const o = this.operands(run, active);
    if (o) adamwStep(o.values, o.grads, m, v, o.blocks, o.groups, o.steps, scalars);
  }
}
