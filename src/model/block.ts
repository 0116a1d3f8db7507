/** One block of a decoder: norms, attention and MLP, put together by a formula of forms.ts. */
import type { Attention, AttentionCall } from '../attention/attention.js';
import { createAttention } from '../attention/registry.js';
import { normal, residual, zeros } from '../nn/init.js';
import { MLP, productDType } from '../nn/linear.js';
import { Module } from '../nn/module.js';
import { LayerNorm, PlainNorm, RMSNorm } from '../nn/norm.js';
import { add, cast, mul } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { GPTSettings } from './config.js';
import { blockForms, type Form } from './forms.js';

export type Norm = LayerNorm | RMSNorm | PlainNorm;

/** Null where the stream is read as it is. */
export function normOf({
  norm,
  dim,
  bias,
  normEps: eps,
}: Pick<GPTSettings, 'norm' | 'dim' | 'bias' | 'normEps'>): Norm | null {
  switch (norm) {
    case 'rms':
      return new RMSNorm(dim, { eps });
    case 'plain':
      return new PlainNorm(dim, { eps });
    case 'none':
      return null;
    default:
      return new LayerNorm(dim, { bias, eps });
  }
}

/** What is told of a block: the stream between its branches, before the MLP. */
export interface BlockCall extends Omit<AttentionCall, 'residual'> {
  /** Sees y of the formula. */
  watch?: (y: Tensor) => void;
}

export class Block extends Module {
  readonly norm1: Norm | null;
  /** Null in a block without attention. */
  readonly attention: Attention | null;
  /** Null where the formula has one norm alone. */
  readonly norm2: Norm | null;
  readonly mlp: MLP | null;
  readonly #form: Form;
  readonly #scale: number;
  /** The stream goes through the norm: it keeps float32. */
  readonly #wide: boolean;

  /** @param norm of a shared block: its only one */
  constructor(config: Omit<GPTSettings, 'vocab' | 'length'>, norm?: Norm | null) {
    super();
    const { layers, dim, heads, attention, mlp, hidden, dropout, bias, block } = config;
    const init = normal(0.02);
    const outInit = config.init === 'plain' ? init : residual(layers);
    const inits = { init, outInit, biasInit: zeros };
    this.#form = blockForms[block];
    this.#scale = config.attentionScale;
    this.#wide = block === 'xplus';
    this.norm1 = norm === undefined ? normOf(config) : norm;
    this.attention = this.#form.attends
      ? createAttention({ ...attention, dim, heads, bias, dropout }, inits)
      : null;
    const second = this.#form.norms && mlp !== 'none';
    this.norm2 = !second ? null : norm === undefined ? normOf(config) : norm;
    this.mlp = mlp === 'none' ? null : new MLP(dim, { kind: mlp, hidden, dropout, bias, ...inits });
  }

  /** The stream after the block, in the dtype of r: float32 under autocast too. */
  forward(r: Tensor, { watch, ...call }: BlockCall = {}): Tensor {
    const outDtype = productDType();
    const { norm1, norm2, mlp } = this;
    return scope(() => {
      const parts = {
        r,
        x: norm1 ? norm1.forward(r, { outDtype: this.#wide ? '' : outDtype }) : r,
        n: (y: Tensor) => norm2?.forward(y, { outDtype }) ?? y,
        a: (x: Tensor, residual?: Tensor) => this.#attended(x, residual, call),
        m: (x: Tensor, residual?: Tensor) => mlp!.forward(x, { residual }),
        add,
        mul,
      };
      const y = this.#form.y(parts);
      watch?.(y);
      const next = mlp ? this.#form.next(y, parts) : y;
      return next.dtype === r.dtype ? next : cast(next, { dtype: r.dtype });
    });
  }

  #attended(x: Tensor, residual: Tensor | undefined, call: AttentionCall): Tensor {
    const scale = this.#scale;
    if (scale === 1) return this.attention!.forward(x, { ...call, residual });
    const y = mul(this.attention!.forward(x, call), scale);
    return residual ? add(residual, y) : y;
  }
}
