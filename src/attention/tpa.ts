/**
 * Tensor product attention (Zhang et al., "Tensor product attention is all you need", NeurIPS 2025, arXiv:2501.06425):
 * queries, keys and values of a token are sums of a few products of a factor over heads and one over channels,
 * q = Aᵀ B / R. The tape and the cache keep the factors: (R_K + R_V) (heads + D) numbers a token in place of
 * 2 heads D. RoPE turns the B factors alone (their Theorem 3.1). With heads that do not look at the token (A the same
 * for all) it is multi-head, multi-query or grouped attention.
 */
import { z } from 'zod';
import { type Init, kaimingUniform, uniform, xavierUniform } from '../nn/init.js';
import { Linear } from '../nn/linear.js';
import {
  attention,
  concat,
  matmul,
  mul,
  packedAttention,
  permute,
  sum,
  tensorProduct,
} from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import { RowCache } from './shared/cache.js';
import type { Config, ConfigInput } from './shared/config.js';
import { channelsOf, headsOf, Out } from './shared/heads.js';
import { visibleSoftmax } from './shared/weights.js';

const DEFAULT_RANKS = [6, 2, 2] as const;

const options = {
  ranks: z
    .tuple([z.int().min(1), z.int().min(1), z.int().min(1)])
    .optional()
    .describe(
      'how many products queries, keys and values are sums of; default [6, 2, 2], at most heads and headDim',
    ),
  kvOnly: z
    .boolean()
    .default(false)
    .describe('queries are no products: one dense projection makes them, and the first rank is not used'),
};

const name = 'TensorProductAttention';

/** As many new tokens as decode from the factors by themselves; more of them make keys and values for the call. */
const FEW = 16;

interface Ranks {
  /** 0 where the queries are dense. */
  q: number;
  k: number;
  v: number;
}

/** @throws ArgumentError for ranks above those that matrices of heads by headDim have */
function ranksOf({ heads, headDim, ranks, kvOnly }: Config<typeof options>): Ranks {
  const most = Math.min(heads, headDim);
  const [q, k, v] = ranks ?? DEFAULT_RANKS.map((r) => Math.min(r, most));
  if (ranks && Math.max(kvOnly ? 0 : ranks[0], ranks[1], ranks[2]) > most)
    throw new ArgumentError(`ranks are [${ranks}]`, {
      op: name,
      hint: `from 1 to ${most} each: ${heads} heads of ${headDim} channels have no higher rank`,
    });
  return { q: kvOnly ? 0 : q!, k: k!, v: v! };
}

/** Rows of D channels that a token's queries, keys and values take in the projection of B. */
const rowsOf = ({ q, k, v }: Ranks, heads: number) => [q || heads, k, v] as const;

/** A weight of parts, one below the other. */
const stacked =
  (parts: readonly (() => Tensor)[]): Init =>
  () =>
    concat(
      parts.map((part) => part()),
      { axis: 0 },
    );

export class TensorProductAttention extends Attention<typeof options> {
  /** The factors over heads, [heads Σ R, dim]: each part [heads, R] a token. */
  readonly a: Linear;
  /** The factors over channels, [Σ R headDim, dim]; dense queries first, where they are. */
  readonly b: Linear;
  readonly out: Out;
  readonly ranks: Readonly<Ranks>;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(tpaKind, config);
    const { dim, heads, headDim, bias } = this.config;
    const { init, biasInit = uniform(-1 / Math.sqrt(dim), 1 / Math.sqrt(dim)) } = inits;
    this.ranks = ranksOf(this.config);
    const { q, k, v } = this.ranks;
    const rows = rowsOf(this.ranks, heads);
    // Uniform with the fans of [dim, heads, R] and [dim, R, D], as published.
    const factor = (n: number, m: number) => () => xavierUniform()([dim, n, m]).reshape([n * m, dim]);
    const dense = () => (init ?? kaimingUniform(Math.sqrt(5)))([heads * headDim, dim]);
    const overHeads = [q, k, v].filter((r) => r > 0);
    this.a = new Linear(dim, heads * (q + k + v), {
      bias,
      biasInit,
      init: stacked(overHeads.map((r) => factor(heads, r))),
      parts: overHeads.map((r) => heads * r),
    });
    this.b = new Linear(dim, (rows[0] + k + v) * headDim, {
      bias,
      biasInit,
      init: stacked([q > 0 ? factor(q, headDim) : dense, factor(k, headDim), factor(v, headDim)]),
      parts: rows.map((r) => r * headDim),
    });
    this.out = new Out(this.config, inits);
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, headDim, window } = this.config;
    const { q, k, v } = this.ranks;
    const { causal, mask, cache } = context;
    const [rows] = rowsOf(this.ranks, heads);
    const a = this.a.forward(x);
    const packed = this.b.forward(x).reshape([...x.shape.slice(0, 2), rows + k + v, headDim]);
    const b = context.rotate(packed, rows + k);
    if (cache instanceof RowCache) return this.#decode(a, b, cache, context);
    return packedAttention(tensorProduct(a, b, { heads, ranks: [q, k, v] }), mask, { heads, causal, window });
  }

  /** Appends the factors of the new keys and values, and lets the new queries see all. */
  #decode(a: Tensor, b: Tensor, cache: RowCache<'ak' | 'bk' | 'av' | 'bv'>, context: Context): Tensor {
    const { heads, window } = this.config;
    const { q, k, v } = this.ranks;
    const { causal, mask, length } = context;
    const [rows] = rowsOf(this.ranks, heads);
    const over = (from: number, to: number) => channelsOf(a, from * heads, to * heads);
    cache.append({
      ak: over(q, q + k),
      bk: headsOf(b, rows, rows + k),
      av: over(q + k, q + k + v),
      bv: headsOf(b, rows + k, rows + k + v),
    });
    const aq = over(0, q);
    const bq = headsOf(b, 0, rows);
    const [ak, bk, av, bv] = (['ak', 'bk', 'av', 'bv'] as const).map((part) => cache.rows(part)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    if (length > FEW) {
      const whole = (a: Tensor, b: Tensor, r: number) => tensorProduct(a, b, { heads, ranks: [r] });
      return attention(whole(aq, bq, q), whole(ak, bk, k), whole(av, bv, v), mask, { causal, window });
    }
    const weights = visibleSoftmax(this.#scores(aq, bq, ak, bk), { mask, causal, window });
    return this.#values(weights, av, bv);
  }

  /** FlashTPA: q · k = Σ_r Σ_s a_q,r a_k,s (b_q,r · b_k,s) / (R_Q R_K), keys never made: [batch, heads, length, keys]. */
  #scores(aq: Tensor, bq: Tensor, ak: Tensor, bk: Tensor): Tensor {
    const { heads, headDim } = this.config;
    const { q, k } = this.ranks;
    const [batch, length, rows] = bq.shape as [number, number, number];
    const keys = bk.shape[1]!;
    const scaled = mul(bq, 1 / ((q || 1) * k * Math.sqrt(headDim)));
    let s = matmul(
      scaled.reshape([batch, length * rows, headDim]),
      bk.reshape([batch, keys * k, headDim]),
      undefined,
      { transposeB: true },
    );
    if (q > 0) s = matmul(aq.reshape([batch, length, heads, q]), s.reshape([batch, length, q, keys * k]));
    const ofHeads = permute(ak.reshape([batch, 1, keys, heads, k]), { axes: [0, 1, 3, 2, 4] });
    const scores = sum(mul(s.reshape([batch, length, heads, keys, k]), ofHeads), { axis: 4 });
    return permute(scores, { axes: [0, 2, 1, 3] });
  }

  /** o_h = Σ_j w_hj Σ_r a_v,jhr b_v,jr / R_V, values never made: [batch, length, heads, headDim]. */
  #values(weights: Tensor, av: Tensor, bv: Tensor): Tensor {
    const { heads, headDim } = this.config;
    const { v } = this.ranks;
    const [batch, , length, keys] = weights.shape as [number, number, number, number];
    const ofHeads = permute(av.reshape([batch, keys, heads, v]), { axes: [0, 2, 1, 3] });
    const shares = mul(
      weights.reshape([batch, heads, length, keys, 1]),
      ofHeads.reshape([batch, heads, 1, keys, v]),
    );
    const o = matmul(
      shares.reshape([batch, heads * length, keys * v]),
      bv.reshape([batch, keys * v, headDim]),
    );
    return permute(mul(o, 1 / v).reshape([batch, heads, length, headDim]), { axes: [0, 2, 1, 3] });
  }

  protected makeCache(batch: number): RowCache<'ak' | 'bk' | 'av' | 'bv'> {
    const { heads, headDim } = this.config;
    const { k, v } = this.ranks;
    return new RowCache(batch, { ak: [heads * k], bk: [k, headDim], av: [heads * v], bv: [v, headDim] });
  }
}

export const tpaKind: AttentionKind<typeof options> = defineAttention({
  kind: 'tpa',
  name,
  doc: 'exact softmax of contextual factors; small cache',
  source: 'Zhang et al. 2025, arXiv:2501.06425',
  options,
  complexity: { time: 'T^2', memory: 'T', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: false, rope: true, grouped: false },
  samples: [
    { kvOnly: true, ranks: [1, 1, 2], window: 3 },
    { bias: false, ranks: [1, 2, 3], headDim: 6 },
  ],
  check: (config) => void ranksOf(config),
  parameters(config) {
    const { dim, heads, headDim, bias } = config;
    const { q, k, v } = ranksOf(config);
    const [rows] = rowsOf({ q, k, v }, heads);
    const factors = (q + k + v) * heads + (rows + k + v) * headDim;
    return factors * (dim + (bias ? 1 : 0)) + Out.parameters({ dim, heads, headDim, bias });
  },
  create: (config, inits) => new TensorProductAttention(config, inits),
});
