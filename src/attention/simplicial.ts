/**
 * 2-simplicial attention (Roy et al., "Fast and Simplex", arXiv:2507.02754, after Clift et al., arXiv:1909.00668): a
 * query weighs pairs of keys, softmax_jk(scale Σ_l q_il k_jl k2_kl) (v_j ∘ v2_k), the one within the last w1 tokens, the
 * other within the last w2. What one layer of pairs can tell - whether three tokens go together - takes several layers
 * of ordinary attention, or very wide ones; the paper finds gains in language models from 2B active parameters on only.
 *
 * Positions. A common rotation of q, k and k2 changes the trilinear form, so that turned by the places of its tokens it
 * would tell where they are and not how far apart; its paper gives it no positions. It then proposes a sum of
 * determinants over chunks of three channels, which represents as much (its theorem 5.1) and which a common rotation
 * leaves as it is: that is the default here, each chunk turned about its third axis, and scores depend on relative places
 * alone. `score: 'trilinear'` is what the paper's models are trained with, positions and all: a rope that other layers
 * share is left aside, and order comes from the windows and from what is added to the tokens.
 */
import { z } from 'zod';
import { ones } from '../nn/init.js';
import { Module } from '../nn/module.js';
import { Parameter } from '../nn/parameter.js';
import { concat, rmsNorm, simplicialAttention, slice } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionCall,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import { StateCache } from './shared/cache.js';
import type { CommonConfig, ConfigInput } from './shared/config.js';
import { Heads, Out } from './shared/heads.js';
import { Rotary } from './shared/positions.js';

const options = {
  w1: z.int().min(1).default(32).describe('first keys of a pair: the last so many, with its own'),
  w2: z.int().min(1).default(8).describe('second keys of a pair: the last so many, with its own'),
  score: z
    .enum(['trilinear', 'determinant'])
    .default('determinant')
    .describe('of a query and two keys: determinant takes rotations, trilinear has no positions'),
  qkNorm: z.boolean().default(false).describe('RMSNorm of each query and key, before the rotation'),
};

type Operand = 'k' | 'v' | 'k2' | 'v2';

/** Of queries, of keys and of second keys, each with a gain of its own. */
class PairNorm extends Module {
  readonly gains: readonly Parameter[];

  constructor(headDim: number) {
    super();
    this.gains = Array.from({ length: 3 }, () => new Parameter(ones([headDim])));
  }

  forward(heads: readonly Tensor[]): Tensor[] {
    return heads.map((x, i) => rmsNorm(x, this.gains[i]!));
  }
}

export class SimplicialAttention extends Attention<typeof options> {
  // Products of their own: as parts of one, operands would be cut out of it, and gradients put together again.
  readonly q: Heads;
  readonly k: Heads;
  readonly k2: Heads;
  readonly v: Heads;
  readonly v2: Heads;
  readonly norm: PairNorm | null;
  readonly out: Out;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(simplicialKind, config);
    const { dim, heads, kvHeads, headDim, bias, qkNorm } = this.config;
    const made = (count: number) => new Heads({ dim, parts: [count], headDim, bias }, inits);
    this.q = made(heads);
    this.k = made(kvHeads);
    this.k2 = made(kvHeads);
    this.v = made(kvHeads);
    this.v2 = made(kvHeads);
    this.norm = qkNorm ? new PairNorm(headDim) : null;
    this.out = new Out(this.config, inits);
  }

  override forward(x: Tensor, call: AttentionCall = {}): Tensor {
    const { rope } = call;
    const turns = this.config.score === 'determinant' && rope instanceof Rotary;
    if (turns && (rope.dim !== this.rotaryDim || rope.interleaved))
      throw new ArgumentError(
        `the rope turns ${rope.dim} channels ${rope.interleaved ? 'in neighbours' : 'in halves'}`,
        {
          op: simplicialKind.name,
          hint: `chunks of three are turned by new Rotary({ dim: ${this.rotaryDim} }), in halves`,
        },
      );
    return super.forward(x, call);
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { score, w1, w2 } = this.config;
    const { cache, causal } = context;
    const [q, k, v, k2, v2] = this.#operands(x, context);
    const mask = context.mask?.reshape([context.batch, context.mask.shape[3]!]);
    const attrs = { w1, w2, causal, score };
    if (!(cache instanceof StateCache)) return simplicialAttention(q, k, v, k2, v2, mask, attrs);
    const all = this.#remember(cache as StateCache<Operand>, context.length, { k, v, k2, v2 });
    const [keys, seen] = [all.k.shape[1]!, mask?.shape[1]];
    const last = mask && keys < seen! ? slice(mask, { starts: [0, seen! - keys] }) : mask;
    return simplicialAttention(q, all.k, all.v, all.k2, all.v2, last, attrs);
  }

  #operands(x: Tensor, context: Context): [q: Tensor, k: Tensor, v: Tensor, k2: Tensor, v2: Tensor] {
    let scored = [this.q, this.k, this.k2].map((heads) => heads.heads(x));
    if (this.norm) scored = this.norm.forward(scored);
    if (this.config.score === 'determinant') scored = scored.map((t) => context.rotate(t));
    const [q, k, k2] = scored as [Tensor, Tensor, Tensor];
    return [q, k, this.v.heads(x), k2, this.v2.heads(x)];
  }

  /** Appends to what is remembered, of which later tokens see the last max(w1, w2) - 1 rows. */
  #remember(
    cache: StateCache<Operand>,
    tokens: number,
    fresh: Record<Operand, Tensor>,
  ): Record<Operand, Tensor> {
    const most = Math.max(this.config.w1, this.config.w2);
    const all = { ...fresh };
    const kept = { ...fresh };
    for (const name of ['k', 'v', 'k2', 'v2'] as const) {
      const past = cache.get(name);
      all[name] = past ? concat([past, fresh[name]], { axis: 1 }) : fresh[name];
      const rows = all[name].shape[1]!;
      kept[name] = rows > most ? slice(all[name], { starts: [0, rows - most + 1] }) : all[name];
    }
    cache.advance(tokens, kept);
    return all;
  }

  protected makeCache(batch: number): StateCache<Operand> {
    return new StateCache(batch);
  }
}

const MOST_CHANNELS = 256; // of a head, as simplicialAttention takes it

const partsOf = ({ heads, kvHeads }: Pick<CommonConfig, 'heads' | 'kvHeads'>) => [
  heads,
  kvHeads,
  kvHeads,
  kvHeads,
  kvHeads,
];

export const simplicialKind: AttentionKind<typeof options> = defineAttention({
  kind: 'simplicial',
  name: 'SimplicialAttention',
  doc: 'softmax over pairs of keys within windows w1 × w2',
  source: 'Roy et al. 2025, arXiv:2507.02754',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: {
    mask: 'keys',
    causal: 'both',
    window: false,
    alibi: false,
    rope: true,
    stretch: false,
    grouped: true,
  },
  samples: [
    { w1: 4, w2: 3, kvHeads: 1, score: 'trilinear', qkNorm: true },
    { w1: 2, w2: 5, qkNorm: true, headDim: 7, kvHeads: 2 },
    { causal: false, w1: 3, w2: 2, bias: false },
  ],
  check({ headDim, score }) {
    if (headDim > MOST_CHANNELS || (score === 'determinant' && headDim < 3))
      throw new ArgumentError(`headDim is ${headDim} and score '${score}'`, {
        op: 'SimplicialAttention',
        hint: `headDim is from ${score === 'determinant' ? 3 : 1} to ${MOST_CHANNELS}`,
      });
  },
  /** Two of each chunk of three; the third is the axis. */
  rotaryDim: ({ headDim, score }) => (score === 'determinant' ? 2 * Math.floor(headDim / 3) : headDim),
  parameters: ({ dim, heads, kvHeads, headDim, bias, qkNorm }) =>
    Heads.parameters({ dim, parts: partsOf({ heads, kvHeads }), headDim, bias }) +
    Out.parameters({ dim, heads, headDim, bias }) +
    (qkNorm ? 3 * headDim : 0),
  create: (config, inits) => new SimplicialAttention(config, inits),
});
