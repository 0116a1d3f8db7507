/** Queries, keys and values by one product: the beginning of every softmax kind. */
import { ones } from '../../nn/init.js';
import { Linear } from '../../nn/linear.js';
import { Module } from '../../nn/module.js';
import { Parameter } from '../../nn/parameter.js';
import { cast, concat, rmsNorm, slice } from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { AttentionInits } from '../attention.js';
import type { CommonConfig } from './config.js';

export interface HeadsOptions {
  dim: number;
  /** Heads of each part, in their order: queries, keys, values, say. */
  parts: readonly number[];
  headDim: number;
  bias: boolean;
}

/** A Linear whose result is heads: x [B, T, dim] → [B, T, all heads, headDim]. Its parts are told to the optimiser. */
export class Heads extends Linear {
  readonly parts: readonly number[];
  readonly headDim: number;

  constructor({ dim, parts, headDim, bias }: HeadsOptions, { init, biasInit }: AttentionInits = {}) {
    const rows = parts.map((heads) => heads * headDim);
    super(dim, sum(rows), { bias, init, biasInit, parts: rows });
    this.parts = parts;
    this.headDim = headDim;
  }

  heads(x: Tensor): Tensor {
    return this.forward(x).reshape([...x.shape.slice(0, 2), sum(this.parts), this.headDim]);
  }

  /** The parts of what `heads` gave, apart. */
  split(packed: Tensor): Tensor[] {
    let from = 0;
    return this.parts.map((heads) => headsOf(packed, from, (from += heads)));
  }

  /** Weights and biases of such a product. */
  static parameters({ dim, parts, headDim, bias }: HeadsOptions): number {
    return sum(parts) * headDim * (dim + (bias ? 1 : 0));
  }
}

const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

/** Heads from … to - 1 of x [B, T, heads, D]. */
export const headsOf = (x: Tensor, from: number, to: number): Tensor =>
  slice(x, { starts: [0, 0, from], ends: [...x.shape.slice(0, 2), to] });

/** Channels from … to - 1 of x [B, T, channels]. */
export const channelsOf = (x: Tensor, from: number, to: number): Tensor =>
  slice(x, { starts: [0, 0, from], ends: [...x.shape.slice(0, 2), to] });

/** In float32: what halves would spoil. */
export const wide = (x: Tensor): Tensor => (x.dtype === 'float32' ? x : cast(x, { dtype: 'float32' }));

/** The projection back: what the heads saw [B, T, heads headDim] → [B, T, dim]. */
export class Out extends Linear {
  constructor(
    { dim, heads, headDim, bias }: OutOptions,
    { init, outInit = init, biasInit }: AttentionInits = {},
  ) {
    super(heads * headDim, dim, { bias, init: outInit, biasInit });
  }

  static parameters({ dim, heads, headDim, bias }: OutOptions): number {
    return heads * headDim * dim + (bias ? dim : 0);
  }
}

type OutOptions = Pick<CommonConfig, 'dim' | 'heads' | 'headDim' | 'bias'>;

/** RMSNorm of each query and key before the rotation (Henry et al., 2020): logits stay within √D · gains. */
export class QKNorm extends Module {
  static readonly eps = 1e-6;
  readonly q: Parameter;
  readonly k: Parameter;

  constructor(headDim: number) {
    super();
    this.q = new Parameter(ones([headDim]));
    this.k = new Parameter(ones([headDim]));
  }

  /** Of packed [B, T, heads + 2 kvHeads, D]: the values are left as they are. */
  packed(qkv: Tensor, heads: number, kvHeads: number): Tensor {
    return concat(
      [
        rmsNorm(headsOf(qkv, 0, heads), this.q, { eps: QKNorm.eps }),
        rmsNorm(headsOf(qkv, heads, heads + kvHeads), this.k, { eps: QKNorm.eps }),
        headsOf(qkv, heads + kvHeads, heads + 2 * kvHeads),
      ],
      { axis: 2 },
    );
  }
}
