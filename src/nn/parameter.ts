/** What a module learns. */
import '../autograd/index.js'; // parameters are there to be differentiated
import { setRequiresGrad } from '../autograd/leaf.js';
import { ArgumentError, DTypeError } from '../runtime/errors.js';
import { keep } from '../tensor/scope.js';
import { describe } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

export interface ParameterOptions {
  /**
   * 'hidden': a matrix between hidden layers, which Muon may make orthogonal. 'table': rows looked up or scored one by
   * one, as of embeddings and heads. 'vector': gains and biases, which do not decay. Default by rank.
   */
  role?: Parameter['role'];
  /** Rows of each part of a fused weight: its queries, keys and values, say. */
  parts?: readonly number[];
}

/** A float32 tensor whose gradient is kept. It belongs to no scope: dispose it, or the module that holds it. */
export class Parameter extends Tensor {
  role: 'hidden' | 'table' | 'vector';
  parts: readonly number[] | undefined;

  /** Takes over the values of `initial`, which ends. */
  constructor(initial: Tensor, { role, parts }: ParameterOptions = {}) {
    if (!(initial instanceof Tensor))
      throw new ArgumentError(`expected a tensor but got ${describe(initial)}`, {
        op: 'Parameter',
        hint: 'for example init.normal([4, 3])',
      });
    if (initial.dtype !== 'float32')
      throw new DTypeError(`${initial} cannot be a parameter`, {
        op: 'Parameter',
        hint: 'parameters are float32; autocast computes in halves',
      });
    if (parts && parts.reduce((a, b) => a + b, 0) !== initial.shape[0])
      throw new ArgumentError(`parts of ${parts.join(' + ')} rows are not ${initial}`, {
        op: 'Parameter',
        hint: 'they add up to its rows',
      });
    super(initial.spec, initial);
    this.role = role ?? (initial.rank === 2 ? 'hidden' : 'vector');
    this.parts = parts;
    initial.dispose();
    keep(this);
    setRequiresGrad(this, true);
  }
}
