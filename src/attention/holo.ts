/**
 * Holographic attention: a causal, content-mixing form of what Hrrformer set out to be. Values are bound to unit phasors
 * of their keys and summed, with decay, into one complex number a frequency; queries unbind them (Plate 1995, in the
 * frequency domain; redundant copies: Danihelka et al., "Associative LSTM", ICML 2016; decay as in gated linear attention,
 * Yang et al., arXiv:2312.06635):
 *
 *   S_t = α_t S_{t-1} + P(k_t) v_t,  n_t = α_t² n_{t-1} + 1,  o_t = conj(P(q_t)) S_t / √n_t
 *
 * with P(z) = z / |z| and α = sigmoid(W x + b)^(1/16). Rotation by positions is binding with phasors e^{iθt}: what is read
 * depends on distances alone. A rope's angles, most of them tiny, tell near tokens badly apart, and here no softmax makes
 * up for it: so each frequency f also turns by (f + ½) π / F a token (fractional power encoding, Plate 1995), whose sum
 * over frequencies tells every distance below 2 F from every other. Each head reads about headDim / 2 items; copies raise that, for the noise of
 * a reading falls as 1 / √redundancy.
 */
import { z } from 'zod';
import { ones } from '../nn/init.js';
import { Linear, project } from '../nn/linear.js';
import { Parameter } from '../nn/parameter.js';
import { embedding, fill, gather, holoAttention, mul, rmsNorm, rope, ropeTable } from '../ops/index.js';
import { philox } from '../ops/philox.js';
import { ArgumentError } from '../runtime/errors.js';
import { keep } from '../tensor/scope.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import { type AttentionCall, type AttentionInits, type AttentionKind, defineAttention } from './attention.js';
import type { Config, ConfigInput } from './shared/config.js';
import { logDecay, memories } from './shared/decays.js';
import { Heads, Out } from './shared/heads.js';
import { type Reading, RecurrentAttention, recurrentOptions } from './shared/recurrent.js';

const options = {
  ...recurrentOptions,
  redundancy: z
    .int()
    .min(1)
    .max(16)
    .default(1)
    .describe(
      'copies of each binding under permuted keys, 1 to 16; the noise of a reading falls as their root',
    ),
  seed: z.int().min(0).default(0).describe('of the permutations'),
  phases: z
    .enum(['spread', 'none'])
    .default('spread')
    .describe(
      "'spread': each frequency turns by an angle of its own a token, evenly over half a circle; 'none': it does not",
    ),
  decay: z
    .enum(['learned', 'none'])
    .default('learned')
    .describe("'learned': old tokens fade, at a rate that each token sets; 'none': they do not"),
  gate: z.boolean().default(true).describe('what is read is gated by SiLU of a projection of x'),
};

const EPS = 1e-6;

export class HoloAttention extends RecurrentAttention<typeof options> {
  /** Queries, keys and values, each as real parts and then imaginary ones: [3 heads headDim, dim]. */
  readonly qkv: Heads;
  /** [heads headDim / 2, dim] */
  readonly decay: Linear | null;
  /** Of the RMSNorm of each head's reading. */
  readonly norm: Parameter;
  readonly gate: Linear | null;
  readonly out: Out;
  /** Table of the angles that each frequency turns by: they come back after 4 F tokens. */
  readonly turns: Tensor | null;
  /** Rows of qkv in the order of the copies' queries and keys, and of the values; null where there is one copy. */
  readonly order: Tensor | null;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(holoKind, config);
    const { dim, heads, headDim, bias, decay, gate, redundancy, seed, phases } = this.config;
    const { init, biasInit } = inits;
    const width = heads * headDim;
    this.qkv = new Heads({ dim, parts: [heads, heads, heads], headDim, bias }, inits);
    this.decay =
      decay === 'learned'
        ? new Linear(dim, width / 2, { init, biasInit: () => memories(heads, headDim / 2) })
        : null;
    this.norm = new Parameter(ones([headDim]));
    this.gate = gate ? new Linear(dim, width, { bias, init, biasInit }) : null;
    this.out = new Out(this.config, inits);
    this.turns = phases === 'spread' ? keep(spread(headDim / 2)) : null;
    this.order = redundancy > 1 ? keep(tensor(copies(heads, headDim, redundancy, seed))) : null;
  }

  override forward(x: Tensor, call: AttentionCall = {}): Tensor {
    const { headDim } = this.config;
    const turner = call.rope;
    if (turner && (turner.interleaved || turner.dim < headDim))
      throw new ArgumentError(
        turner.interleaved
          ? 'the rope is interleaved'
          : `the rope turns ${turner.dim} channels of ${headDim}`,
        {
          op: 'HoloAttention',
          hint: `a head's channels are real parts, then imaginary ones: new Rotary({ dim: ${headDim} })`,
        },
      );
    return super.forward(x, call);
  }

  /** Normed and gated: [batch, length, heads headDim]. */
  protected read(
    x: Tensor,
    { rotate, keep: kept, offset, batch, length }: Reading,
    [before]: readonly Tensor[],
  ): [o: Tensor, state: Tensor] {
    const { heads, headDim, redundancy } = this.config;
    const turned = 2 * redundancy * heads;
    const qkv = this.#turned(rotate(this.#bound(x), turned), offset, turned);
    const none = (dtype: 'float32' | 'bool') => fill({ shape: [0], dtype });
    const decay = this.#decay(x)?.reshape([batch, length, heads, headDim / 2]);
    const [o, state] = holoAttention(
      qkv,
      decay ?? none('float32'),
      kept ?? none('bool'),
      before ?? none('float32'),
      {
        heads,
        copies: redundancy,
      },
    );
    const normed = rmsNorm(o, this.norm, { eps: EPS }).reshape([batch, length, heads * headDim]);
    return [this.gate ? mul(normed, this.gate.forward(x, { activation: 'silu' })) : normed, state];
  }

  /** Queries and keys of all copies, and values: [batch, length, (2 redundancy + 1) heads, headDim]. */
  #bound(x: Tensor): Tensor {
    const { weight, bias } = this.qkv;
    if (!this.order) return this.qkv.heads(x);
    // A copy's permuted keys are products with permuted rows.
    const packed = project(x, embedding(weight, this.order), bias && gather(bias, this.order));
    const { heads, headDim, redundancy } = this.config;
    return packed.reshape([...x.shape.slice(0, 2), (2 * redundancy + 1) * heads, headDim]);
  }

  /** The first `heads` heads turned evenly over the frequencies, from place `offset` on. */
  #turned(qkv: Tensor, offset: number, heads: number): Tensor {
    if (!this.turns) return qkv;
    const [length, all] = [qkv.shape[1]!, period(this.config.headDim / 2)];
    const places = Int32Array.from({ length }, (_, t) => (offset + t) % all);
    return rope(qkv, this.turns, tensor(places, [length], { runtime: qkv.runtime }), { heads });
  }

  /** ln α, float32. */
  #decay(x: Tensor): Tensor | undefined {
    if (!this.decay) return undefined;
    return logDecay(this.decay.forward(x));
  }
}

function checkHeads(headDim: number): void {
  if (headDim % 2 !== 0)
    throw new ArgumentError(`headDim is ${headDim}`, {
      op: 'HoloAttention',
      hint: 'a head holds real parts and as many imaginary ones: headDim is even',
    });
}

/** Angles φ_f = (f + ½) π / F a token: Σ_f cos(φ_f δ) is F at the distance δ = 0, and 0 at all others below 2 F. */
const spread = (F: number): Tensor =>
  ropeTable({
    length: period(F),
    dim: 2 * F,
    frequencies: Array.from({ length: F }, (_, f) => ((f + 0.5) * Math.PI) / F),
  });

/** Tokens after which all these angles are whole circles. */
const period = (F: number): number => 4 * F;

/** Rows of qkv: for each head and copy its queries', then its keys', in the copy's permutation; then the values'. */
function copies(heads: number, headDim: number, redundancy: number, seed: number): Int32Array {
  const F = headDim / 2;
  const rows: number[] = [];
  for (const part of [0, 1])
    for (let h = 0; h < heads; h++)
      for (let r = 0; r < redundancy; r++) {
        const order = permutation(F, h * redundancy + r, seed, r === 0);
        for (const half of [0, F]) for (const f of order) rows.push((part * heads + h) * headDim + half + f);
      }
  for (let i = 2 * heads * headDim; i < 3 * heads * headDim; i++) rows.push(i);
  return Int32Array.from(rows);
}

/** A random order of 0 … n - 1 (Fisher and Yates), by the seed and a number of its own; the first copy has none. */
function permutation(n: number, number: number, seed: number, identity: boolean): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  if (identity) return order;
  for (let i = n - 1; i > 0; i--) {
    const [word] = philox([i, number, 0, 0], [seed % 2 ** 32, Math.floor(seed / 2 ** 32)]);
    const j = Math.floor((word! / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

export const holoKind: AttentionKind<typeof options> = defineAttention({
  kind: 'holo',
  name: 'HoloAttention',
  doc: 'values bound to phasors of keys in one decaying state; causal, mixes content',
  source: 'Plate 1995; Danihelka et al. 2016, arXiv:1602.03032; Alam et al. 2023, arXiv:2305.19534',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: { mask: 'keys', causal: 'always', window: false, alibi: false, rope: true, grouped: false },
  samples: [{ redundancy: 3, phases: 'none', decay: 'none', gate: false, bias: false, headDim: 6 }],
  check: ({ headDim }) => checkHeads(headDim),
  parameters: ({ dim, heads, headDim, bias, decay, gate }: Config<typeof options>) => {
    checkHeads(headDim);
    const width = heads * headDim;
    const biased = dim + (bias ? 1 : 0);
    return (
      3 * width * biased +
      (decay === 'learned' ? (width / 2) * (dim + 1) : 0) +
      headDim +
      (gate ? width * biased : 0) +
      dim * (width + (bias ? 1 : 0))
    );
  },
  create: (config, inits) => new HoloAttention(config, inits),
});
