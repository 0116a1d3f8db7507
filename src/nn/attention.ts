/** Multi-head self-attention (Vaswani et al., 2017), with grouped keys and values (Ainslie et al., EMNLP 2023). */
import { concat, packedAttention, rmsNorm, rope, slice } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkProbability, checkSizes, checkTensor } from './check.js';
import { type Init, ones } from './init.js';
import { Linear, residualOf } from './linear.js';
import { Module } from './module.js';
import { Parameter } from './parameter.js';

export interface SelfAttentionOptions {
  /** Heads of the keys and values; the query heads are a multiple of them. Default: as many as query heads. */
  kvHeads?: number;
  /** No token sees those after it. Default true. */
  causal?: boolean;
  /** Above 0, tokens see only the last so many. Default 0. */
  window?: number;
  /** Default true. */
  bias?: boolean;
  /** Of the result. */
  dropout?: number;
  /** RMSNorm of each query and key, before the rotation (Henry et al., 2020). Default false. */
  qkNorm?: boolean;
  init?: Init;
  /** Of the projection back. */
  outInit?: Init;
  biasInit?: Init;
}

export interface SelfAttentionCall {
  /** Added to the result. */
  residual?: Tensor;
  /** Keys that may be seen: bool [batch, length], or what `packedAttention` takes, [B, H, T, T] stretched. */
  mask?: Tensor;
  /** Rotates queries and keys by their positions: see ropeTable. */
  rope?: Tensor;
}

export class SelfAttention extends Module {
  /** Queries, keys and values: [(heads + 2 kvHeads) D, dim]. */
  readonly qkv: Linear;
  readonly qNorm: Parameter | null;
  readonly kNorm: Parameter | null;
  readonly out: Linear;
  readonly kvHeads: number;
  readonly causal: boolean;
  readonly window: number;
  readonly dropout: number;

  constructor(
    readonly dim: number,
    readonly heads: number,
    options: SelfAttentionOptions = {},
  ) {
    super();
    const { kvHeads = heads, causal = true, window = 0, bias = true, dropout = 0, qkNorm = false } = options;
    const { init, outInit = init, biasInit } = options;
    checkSizes('SelfAttention', { dim, heads, kvHeads });
    if (dim % heads !== 0 || heads % kvHeads !== 0)
      throw new ArgumentError(`${dim} channels, ${heads} heads, ${kvHeads} of keys`, {
        op: 'SelfAttention',
        hint: 'channels are a multiple of the heads, and these of the heads of keys',
      });
    const d = dim / heads;
    this.kvHeads = kvHeads;
    this.causal = causal;
    this.window = window;
    this.dropout = checkProbability('SelfAttention', dropout);
    const parts = [heads * d, kvHeads * d, kvHeads * d];
    this.qkv = new Linear(dim, (heads + 2 * kvHeads) * d, { bias, init, biasInit, parts });
    this.qNorm = qkNorm ? new Parameter(ones([d])) : null;
    this.kNorm = qkNorm ? new Parameter(ones([d])) : null;
    this.out = new Linear(dim, dim, { bias, init: outInit, biasInit });
  }

  /** @param x [batch, length, dim] */
  forward(x: Tensor, { residual, mask, rope: table }: SelfAttentionCall = {}): Tensor {
    const { dim, heads, kvHeads, causal, window } = this;
    checkTensor('SelfAttention', 'x', x);
    if (x.rank !== 3 || x.shape[2] !== dim)
      throw new ShapeError(`x is ${show(x.shape)}`, {
        op: 'SelfAttention',
        hint: `it is [batch, length, ${dim}]`,
      });
    const [batch, length] = x.shape as [number, number, number];
    if (mask?.rank === 2 && (mask.shape[0] !== batch || mask.shape[1] !== length))
      throw new ShapeError(`the mask is ${show(mask.shape, mask.dtype)} but x is ${show(x.shape)}`, {
        op: 'SelfAttention',
        hint: `one entry for each key: bool [${batch}, ${length}]`,
      });
    const all = heads + 2 * kvHeads;
    return scope(() => {
      let qkv = this.qkv.forward(x).reshape([batch, length, all, dim / heads]);
      if (this.qNorm) qkv = this.#normalised(qkv);
      if (table) qkv = rope(qkv, table, undefined, { heads: heads + kvHeads });
      const keys = mask?.rank === 2 ? mask.reshape([batch, 1, 1, length]) : mask;
      const o = packedAttention(qkv, keys, { heads, kvHeads, causal, window });
      return residualOf(this, this.out, o.reshape([batch, length, dim]), residual);
    });
  }

  #normalised(qkv: Tensor): Tensor {
    const { heads, kvHeads } = this;
    const part = (from: number, to: number) =>
      slice(qkv, { starts: [0, 0, from], ends: [...qkv.shape.slice(0, 2), to] });
    return concat(
      [
        rmsNorm(part(0, heads), this.qNorm!),
        rmsNorm(part(heads, heads + kvHeads), this.kNorm!),
        part(heads + kvHeads, heads + 2 * kvHeads),
      ],
      { axis: 2 },
    );
  }
}
