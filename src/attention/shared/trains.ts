/** Projections whose weights are trains of cores: what learns is the cores, what multiplies is the matrix of them. */
import { checkpoint } from '../../autograd/checkpoint.js';
import { noGrad, recording, within } from '../../autograd/modes.js';
import {
  coreDeviation,
  coreShape,
  type TrainShape,
  trainSize,
  ttMatrix,
  ttMatrixSvd,
} from '../../geometry/tensor-train.js';
import { type Init, kaimingUniform, normal, uniform, zeros } from '../../nn/init.js';
import { type LinearCall, project } from '../../nn/linear.js';
import { Module } from '../../nn/module.js';
import { Parameter } from '../../nn/parameter.js';
import { concat, mean, mul } from '../../ops/index.js';
import { observer } from '../../ops/record.js';
import { keep, scope } from '../../tensor/scope.js';
import type { Storage, Tensor } from '../../tensor/tensor.js';

export interface TrainLinearOptions {
  bias: boolean;
  /**
   * 'random': Gaussian cores whose matrix has the variance of what `init` draws, 1 / in without one. 'svd': TT-SVD of
   * what it draws, by default as a Linear begins.
   */
  start: 'random' | 'svd';
  init?: Init;
  biasInit?: Init;
}

const product = (list: readonly number[]): number => list.reduce((a, b) => a * b, 1);

/**
 * y = x Wᵀ + b + residual, W [out, in] the matrices of some trains, one below the other. W is contracted when a core
 * has changed and at no other time: once a step, and never while gradients accumulate or tokens are decoded.
 */
export class TrainLinear extends Module {
  /** Of all trains in order: [r_{k-1}, out_k, in_k, r_k]. They decay as weights do, and are no matrices for Muon. */
  readonly cores: Parameter[];
  readonly bias: Parameter | null;
  /** W and what it was made of. */
  #dense: { w: Tensor; of: readonly { storage: Storage; version: number }[] } | undefined;

  constructor(
    readonly shapes: readonly TrainShape[],
    { bias, start, init, biasInit }: TrainLinearOptions,
  ) {
    super();
    const into = product(shapes[0]!.into);
    const out = shapes.reduce((sum, s) => sum + product(s.out), 0);
    const bound = 1 / Math.sqrt(into);
    this.cores = shapes.flatMap((shape) =>
      scope(() => firstCores(shape, start, init)).map((core) => new Parameter(core, { role: 'table' })),
    );
    this.bias = bias ? new Parameter((biasInit ?? uniform(-bound, bound))([out])) : null;
  }

  /** Parameters of such a layer. */
  static parameters(shapes: readonly TrainShape[], bias: boolean): number {
    return shapes.reduce((sum, s) => sum + trainSize(s) + (bias ? product(s.out) : 0), 0);
  }

  forward(x: Tensor, call: LinearCall = {}): Tensor {
    return scope(() => project(x, this.weight(), this.bias, call));
  }

  /** W [out, in]; gradients flow to the cores. */
  weight(): Tensor {
    const { cores } = this;
    if (observer.interpret) return this.#contract(cores); // its tensors have no bytes that could serve again
    const storages = cores.map((core) => core.storage('TrainLinear', 'core'));
    const known = this.#dense;
    if (known?.of.every(({ storage, version }, i) => storage === storages[i] && version === storage.version))
      // The graph of the first use may be spent: gradients make their own.
      return checkpoint((...now) => (recording() ? this.#contract(now) : known.w.detach()), ...cores);
    known?.w.dispose();
    const w = this.#contract(cores);
    this.#dense = {
      w: keep(w.detach()),
      of: storages.map((storage) => ({ storage, version: storage.version })),
    };
    return w;
  }

  /** In float32 whatever the products around run in: the rounding of cores would multiply. */
  #contract(cores: readonly Tensor[]): Tensor {
    return within({ autocast: undefined, casts: undefined }, 'TrainLinear', () =>
      scope(() => {
        let from = 0;
        const parts = this.shapes.map(({ out }) => ttMatrix(cores.slice(from, (from += out.length))));
        return parts.length === 1 ? parts[0]! : concat(parts, { axis: 0 });
      }),
    );
  }

  override dispose(): void {
    super.dispose();
    this.#dense?.w.dispose();
    this.#dense = undefined;
  }
}

function firstCores(shape: TrainShape, start: 'random' | 'svd', init: Init | undefined): Tensor[] {
  const [out, into] = [product(shape.out), product(shape.into)];
  if (start === 'svd') return ttMatrixSvd((init ?? kaimingUniform(Math.sqrt(5)))([out, into]), shape);
  const drawn = init?.([out, into]);
  const variance = drawn ? noGrad(() => mean(mul(drawn, drawn)).itemSync()) : 1 / into;
  const std = coreDeviation(shape, variance || 1 / into);
  const last = shape.out.length - 1;
  // A matrix of zeros has one core of zeros: of several, none would ever learn.
  return shape.out.map((_, k) => (variance === 0 && k === last ? zeros : normal(std))(coreShape(shape, k)));
}
