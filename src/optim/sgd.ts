/** Stochastic gradient descent, with momentum (Sutskever et al., ICML 2013) where asked for. */
import { sgdStep } from '../ops/index.js';
import { sgdRow } from '../ops/sgd.js';
import { ArgumentError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import { groupsOf, Optimizer, type OptimizerOptions, type ParamGroup, type Params } from './optimizer.js';

export interface SGDHyper {
  /** Learning rate. Default 1e-3. */
  lr: number;
  /** b = momentum b + (1 - dampening) g. Default 0. */
  momentum: number;
  dampening: number;
  /** Steps along g + momentum b instead of b. Default false. */
  nesterov: boolean;
  /** Added to the gradient: g + weightDecay p. Default 0. */
  weightDecay: number;
}

const sgdDefaults: SGDHyper = { lr: 1e-3, momentum: 0, dampening: 0, nesterov: false, weightDecay: 0 };

/** SGD over flat arenas, one op for all parameters. */
export class SGD extends Optimizer {
  declare readonly paramGroups: readonly ParamGroup<SGDHyper>[];

  constructor(params: Params<SGDHyper>, options: Partial<SGDHyper> & OptimizerOptions = {}) {
    const { maxNorm, ...hyper } = options;
    const groups = groupsOf('SGD', params, sgdDefaults, hyper);
    for (const group of groups)
      if (group.nesterov && (group.momentum === 0 || group.dampening !== 0))
        throw new ArgumentError(`Nesterov with momentum ${group.momentum}, dampening ${group.dampening}`, {
          op: 'SGD',
          hint: 'it takes a momentum and no dampening',
        });
    super(
      'SGD',
      [
        {
          groups,
          row: (group, factor) => {
            const { lr, weightDecay, momentum, dampening, nesterov } = group as ParamGroup<SGDHyper>;
            return sgdRow(lr * factor, weightDecay, momentum, dampening, nesterov);
          },
          moments: ['momentum'],
        },
      ],
      { maxNorm },
    );
  }

  protected update(scalars: Tensor, active: readonly boolean[]): void {
    const run = this.runs[0]!;
    const o = this.operands(run, active);
    if (o) sgdStep(o.values, o.grads, run.moments.momentum!, o.blocks, o.groups, o.steps, scalars);
  }
}
