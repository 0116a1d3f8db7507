/** Normalisation of the last axis. Statistics are float32 whatever the dtype. */
import { layerNorm, rmsNorm } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import type { DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkSizes } from './check.js';
import { ones, zeros } from './init.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';

export interface NormCall {
  /** Of the result; '' is that of x. */
  outDtype?: DType | '';
}

/** (x - mean) / √(variance + eps) · weight + bias (Ba et al., 2016). */
export class LayerNorm extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
  readonly eps: number;

  constructor(
    readonly dim: number,
    { eps = 1e-5, bias = true }: { eps?: number; bias?: boolean } = {},
  ) {
    super();
    checkSizes('LayerNorm', { dim });
    this.eps = checkEps('LayerNorm', eps);
    this.weight = new Parameter(ones([dim]));
    this.bias = bias ? new Parameter(zeros([dim])) : null;
  }

  forward(x: Tensor, { outDtype = '' }: NormCall = {}): Tensor {
    return layerNorm(x, this.weight, this.bias ?? undefined, { eps: this.eps, outDtype });
  }
}

/** (x - mean) / √(variance + eps): nothing is learned. */
export class PlainNorm extends Module {
  readonly eps: number;

  constructor(
    readonly dim: number,
    { eps = 1e-5 }: { eps?: number } = {},
  ) {
    super();
    checkSizes('PlainNorm', { dim });
    this.eps = checkEps('PlainNorm', eps);
  }

  forward(x: Tensor, { outDtype = '' }: NormCall = {}): Tensor {
    return layerNorm(x, undefined, undefined, { eps: this.eps, outDtype });
  }
}

/** x / √(mean(x²) + eps) · weight (Zhang & Sennrich, NeurIPS 2019). */
export class RMSNorm extends Module {
  readonly weight: Parameter;
  readonly eps: number;

  constructor(
    readonly dim: number,
    { eps = 1e-6 }: { eps?: number } = {},
  ) {
    super();
    checkSizes('RMSNorm', { dim });
    this.eps = checkEps('RMSNorm', eps);
    this.weight = new Parameter(ones([dim]));
  }

  forward(x: Tensor, { outDtype = '' }: NormCall = {}): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps, outDtype });
  }
}

function checkEps(op: string, eps: number): number {
  if (!(eps >= 0 && eps < Number.POSITIVE_INFINITY))
    throw new ArgumentError(`eps is ${String(eps)}`, { op, hint: 'it is a small number, 0 or more' });
  return eps;
}
