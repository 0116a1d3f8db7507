/**
 * Triple product attention: the score of query i and key j is τ times -det Gram(qᵢ, kⱼ, rᵢ), the squared volume that the
 * key spans with the query and a third vector beside it, so that keys in the plane of qᵢ and rᵢ weigh most: T × T scores,
 * in two products a tile (geometry/gram.ts, op scoredAttention). Volumes of unit vectors as a similarity: Cicchetti et
 * al., GRAM, ICLR 2025, arXiv:2412.11959; the unsigned triple product: Clift et al., ICLR 2020, arXiv:1909.00668.
 */
import { z } from 'zod';
import { gramDeviation, gramFrame } from '../geometry/gram.js';
import { Parameter } from '../nn/parameter.js';
import { concat, div, exp, fill, mul, rmsNorm, scoredAttention, sqrt, square, sum } from '../ops/index.js';
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
import { Heads, headsOf, Out, wide } from './shared/heads.js';

const options = {
  unitNorm: z
    .boolean()
    .optional()
    .describe(
      'queries, keys and third vectors become as long as each other, √headDim; default: not with the scale of the seed',
    ),
  scale: z
    .enum(['learned', 'seed'])
    .default('learned')
    .describe(
      "a factor τ of each head, learned for vectors of length 1; 'seed': headDim^-1.5 of vectors as they are",
    ),
  sign: z
    .boolean()
    .default(false)
    .describe('adds μ cos(q, k) to the score, μ of each head learned from 0, which tells k from -k'),
};

const name = 'TripleProductAttention';

/** @throws ArgumentError for options that contradict each other, and heads in which every key lies in the plane */
function checked({ headDim, scale, unitNorm = scale !== 'seed' }: Config<typeof options>): { unit: boolean } {
  if (scale === 'seed' && unitNorm)
    throw new ArgumentError("unitNorm is true and scale is 'seed'", {
      op: name,
      hint: 'the seed takes vectors as they are: leave one of them out',
    });
  if (headDim < 3)
    throw new ArgumentError(`headDim is ${headDim}`, {
      op: name,
      hint: 'at least 3: in less, every key lies in the plane of two vectors',
    });
  return { unit: unitNorm };
}

export class TripleProductAttention extends Attention<typeof options> {
  /** Queries, third vectors, keys, values: [(2 heads + 2 kvHeads) headDim, dim]. */
  readonly qrkv: Heads;
  /** ln τ of each head: τ = 1 / gramDeviation at first, so that scores of random vectors vary by 1. */
  readonly logScale: Parameter | null;
  /** μ of each head. */
  readonly sign: Parameter | null;
  readonly out: Out;
  readonly #unit: boolean;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(tripleKind, config);
    const { dim, heads, kvHeads, headDim, bias, scale, sign } = this.config;
    this.#unit = checked(this.config).unit;
    this.qrkv = new Heads({ dim, parts: [heads, heads, kvHeads, kvHeads], headDim, bias }, inits);
    this.logScale =
      scale === 'learned'
        ? new Parameter(fill({ shape: [heads], value: -Math.log(gramDeviation(headDim)) }))
        : null;
    this.sign = sign ? new Parameter(fill({ shape: [heads], value: 0 })) : null;
    this.out = new Out(this.config, inits);
  }

  protected attend(x: Tensor, { batch, length, causal, mask, cache, rotate }: Context): Tensor {
    const { heads, kvHeads, window, alibi } = this.config;
    const turned = 2 * heads + kvHeads;
    const all = this.qrkv.heads(x);
    const vectors = headsOf(all, 0, turned);
    const turns = rotate(this.#unit ? rmsNorm(vectors) : vectors);
    const [q, r] = [headsOf(turns, 0, heads), headsOf(turns, heads, 2 * heads)];
    const own = { k: headsOf(turns, 2 * heads, turned), v: headsOf(all, turned, turned + kvHeads) };
    const lengths = sum(square(wide(own.k)), { axis: -1 });
    const memory = cache instanceof RowCache ? cache : undefined;
    const { k, v, n } = memory ? memory.append({ ...own, n: lengths }) : { ...own, n: lengths };
    const { vectors: ab, sides } = this.#frame(wide(q), wide(r));
    const beside = [sides.reshape([batch, length * heads * 2]), n!.reshape([batch, n!.shape[1]! * kvHeads])];
    return scoredAttention(ab, k!, v!, concat(beside, { axis: 1 }), mask, {
      score: 'gram',
      causal,
      window,
      alibi,
      keys: memory?.length ?? 0,
    });
  }

  /** a and b side by side, and (A, c): the scale in all of them. */
  #frame(q: Tensor, r: Tensor): { vectors: Tensor; sides: Tensor } {
    const { heads, headDim: D } = this.config;
    const { a, b, area, height } = gramFrame(q, r);
    // τ is of unit vectors, where q, k and r are as long as √D each.
    const scale = this.logScale
      ? mul(exp(this.logScale.reshape([heads, 1])), D ** -3)
      : fill({ shape: [heads, 1], value: D ** -1.5 });
    const root = sqrt(scale);
    // q · k = a · k / |r'|, and a is multiplied by the root here.
    const c = this.sign
      ? div(mul(this.sign.reshape([heads, 1]), 1 / D), mul(height, root))
      : fill({ shape: area.shape, value: 0 });
    return {
      vectors: concat([mul(a, root), mul(b, root)], { axis: -1 }),
      sides: concat([mul(area, scale), c], { axis: -1 }),
    };
  }

  protected makeCache(batch: number): RowCache<'k' | 'v' | 'n'> {
    const { kvHeads, headDim } = this.config;
    return new RowCache(batch, { k: [kvHeads, headDim], v: [kvHeads, headDim], n: [kvHeads] });
  }
}

export const tripleKind: AttentionKind<typeof options> = defineAttention({
  kind: 'triple',
  name,
  doc: 'Gram determinant of query, key and a third vector as the score, in tiles',
  source: 'Cicchetti et al. 2025, arXiv:2412.11959; Clift et al. 2020, arXiv:1909.00668',
  options,
  complexity: { time: 'T^2', memory: 'T', cache: 'T' },
  supports: {
    mask: 'any',
    causal: 'both',
    window: true,
    alibi: true,
    rope: true,
    stretch: false,
    grouped: true,
  },
  samples: [
    { kvHeads: 2, sign: true },
    { scale: 'seed' },
    { causal: false, unitNorm: false },
    { window: 3, alibi: true, headDim: 8, bias: false },
  ],
  check: (config) => void checked(config),
  parameters: (config) => {
    checked(config);
    const { dim, heads, kvHeads, headDim, bias, scale, sign } = config;
    return (
      Heads.parameters({ dim, parts: [heads, heads, kvHeads, kvHeads], headDim, bias }) +
      Out.parameters({ dim, heads, headDim, bias }) +
      (scale === 'learned' ? heads : 0) +
      (sign ? heads : 0)
    );
  },
  create: (config, inits) => new TripleProductAttention(config, inits),
});
