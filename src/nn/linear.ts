/** Layers that multiply: Linear, and MLP of two of them. */
import { autocastDType } from '../autograd/modes.js';
import type { Activation } from '../ops/activations.js';
import { add, linear, swiglu } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import type { DType } from '../tensor/dtype.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkProbability, checkSizes } from './check.js';
import { dropoutOf } from './dropout.js';
import { type Init, kaimingUniform, uniform } from './init.js';
import { Module } from './module.js';
import { Parameter, type ParameterOptions } from './parameter.js';

export interface LinearOptions {
  /** Default true. */
  bias?: boolean;
  /** Default as PyTorch: uniform in ±1/√in, weight and bias. */
  init?: Init;
  biasInit?: Init;
  role?: ParameterOptions['role'];
  /** Rows of the parts of a fused weight: see Parameter. */
  parts?: readonly number[];
}

export interface LinearCall {
  /** Applied in the same pass. 'gelu' is exact, 'gelu_tanh' GPT-2's approximation. */
  activation?: Activation;
  /** Added to the result, of its shape. Under autocast the result is of the residual's dtype. */
  residual?: Tensor;
}

/** y = act(x Wᵀ + b) + residual: x [..., in], weight [out, in], bias [out]. */
export class Linear extends Module {
  readonly weight: Parameter;
  readonly bias: Parameter | null;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: LinearOptions = {},
  ) {
    super();
    checkSizes('Linear', { inFeatures, outFeatures });
    const bound = 1 / Math.sqrt(Math.max(1, inFeatures));
    const { bias = true, init = kaimingUniform(Math.sqrt(5)), biasInit = uniform(-bound, bound) } = options;
    const { role, parts } = options;
    this.weight = new Parameter(init([outFeatures, inFeatures]), { role, parts });
    this.bias = bias ? new Parameter(biasInit([outFeatures])) : null;
  }

  forward(x: Tensor, { activation = 'none', residual }: LinearCall = {}): Tensor {
    return project(x, this.weight, this.bias, { activation, residual });
  }
}

/** linear() as layers call it: under autocast the weight's gradient stays float32, and so does a residual stream. */
export function project(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  { activation = 'none', residual }: LinearCall = {},
): Tensor {
  const half = autocastDType();
  const fused = residual && bias ? residual : undefined; // the op wants a bias beside a residual
  const y = linear(x, weight, bias ?? undefined, fused, {
    activation,
    outDtype: half && fused ? (fused.dtype as 'float32') : '',
    gradDtype: half ? 'float32' : '',
  });
  return residual && !fused ? add(residual, y) : y;
}

export interface MLPOptions {
  /** Default 4 dim; for 'swiglu' 8/3 dim, rounded up to a multiple of 64. */
  hidden?: number;
  /** Default 'gelu', exact. */
  kind?: 'gelu' | 'gelu_tanh' | 'relu' | 'silu' | 'swiglu';
  bias?: boolean;
  dropout?: number;
  init?: Init;
  /** Of the projection back. */
  outInit?: Init;
  biasInit?: Init;
}

/** Channels inside an MLP where none are given. */
export const hiddenOf = (dim: number, kind: MLPOptions['kind']): number =>
  kind === 'swiglu' ? Math.ceil((8 * dim) / 3 / 64) * 64 : 4 * dim;

/** dim → hidden → dim: act(x W₁ᵀ) W₂ᵀ, or (silu(x Wₐᵀ) ⊙ x Wᵦᵀ) W₂ᵀ (Shazeer, "GLU variants improve Transformer", 2020). */
export class MLP extends Module {
  readonly up: Linear;
  readonly down: Linear;
  readonly kind: NonNullable<MLPOptions['kind']>;
  readonly dropout: number;

  constructor(dim: number, options: MLPOptions = {}) {
    super();
    const { kind = 'gelu', bias = true, dropout = 0, init, outInit = init, biasInit } = options;
    if (!['gelu', 'gelu_tanh', 'relu', 'silu', 'swiglu'].includes(kind))
      throw new ArgumentError(`unknown kind '${String(kind)}'`, {
        op: 'MLP',
        hint: 'gelu, gelu_tanh, relu, silu or swiglu',
      });
    const gated = kind === 'swiglu';
    const { hidden = hiddenOf(dim, kind) } = options;
    this.kind = kind;
    this.dropout = checkProbability('MLP', dropout);
    this.up = new Linear(dim, gated ? 2 * hidden : hidden, {
      bias,
      init,
      biasInit,
      parts: gated ? [hidden, hidden] : undefined,
    });
    this.down = new Linear(hidden, dim, { bias, init: outInit, biasInit });
  }

  /** @param residual added to the result */
  forward(x: Tensor, { residual }: { residual?: Tensor } = {}): Tensor {
    return scope(() => {
      const h =
        this.kind === 'swiglu' ? swiglu(this.up.forward(x)) : this.up.forward(x, { activation: this.kind });
      return residualOf(this, this.down, h, residual);
    });
  }
}

/** What projects back: a Linear, or a module in its place. */
export interface Projection {
  forward(x: Tensor, call?: LinearCall): Tensor;
}

/** The end of a branch: projected back and added to the stream, after dropout where there is some. */
export function residualOf(
  { training, dropout }: { training: boolean; dropout: number },
  out: Projection,
  h: Tensor,
  residual: Tensor | undefined,
): Tensor {
  if (!training || dropout === 0) return out.forward(h, { residual });
  const y = dropoutOf(out.forward(h), dropout);
  return residual ? add(residual, y) : y;
}

/** dtype of what a norm hands to a product here: the half under autocast, so that nothing is cast in between. */
export const productDType = (): DType | '' => autocastDType() ?? '';
