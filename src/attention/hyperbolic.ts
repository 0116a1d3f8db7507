/**
 * Hyperbolic attention (Gulcehre et al., "Hyperbolic attention networks", ICLR 2019, arXiv:1805.09786): queries and keys
 * are points of hyperbolic space in polar coordinates, the weights softmax(-β d_c(q, k)) with the distance d_c at
 * curvature -c, and values are averaged on the hyperboloid, by the Einstein midpoint. β, a head's own, and c, of each
 * head of keys, are learned. Distances are d_c = d₁(√c r)/√c: √c is folded into radii and 1/√c into β, so that one score
 * in tiles serves all. Rotations of directions are isometries: rotary positions turn these and leave radii alone.
 */
import { z } from 'zod';
import { within } from '../autograd/modes.js';
import { polar } from '../geometry/hyperbolic.js';
import { Linear } from '../nn/linear.js';
import { Parameter } from '../nn/parameter.js';
import {
  add,
  concat,
  div,
  fill,
  less,
  logSigmoid,
  minimum,
  mul,
  neg,
  scoredAttention,
  slice,
  sqrt,
  square,
  sub,
  sum,
  where,
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
import type { CommonConfig, ConfigInput } from './shared/config.js';
import { channelsOf, headsOf, wide } from './shared/heads.js';

const options = {
  maxRadius: z
    .number()
    .positive()
    .max(12)
    .default(8)
    .describe('no point is farther from the origin: r = maxRadius tanh(|z| / maxRadius)'),
};

/** What keeps c above 0. */
const LEAST_CURVATURE = 1e-4;
/** √c r for which float32 holds sinh² (op scoredAttention): c stays below (40 / maxRadius)², 25 by default. */
const MOST_RADIUS = 40;
/** softplus of it is 1: distances count once, and the curvature is -1, at first. */
const UNIT = Math.log(Math.E - 1);

export class HyperbolicAttention extends Attention<typeof options> {
  /** Queries, keys, and the coordinates of space of the values: [(heads + kvHeads) headDim + kvHeads (headDim - 1), dim]. */
  readonly qkv: Linear;
  /** softplus of it is β of each head. */
  readonly sharpness: Parameter;
  /** softplus of it + 1e-4, at most (40 / maxRadius)², is c of each head of keys. */
  readonly curvature: Parameter;
  readonly out: Linear;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(hyperbolicKind, config);
    const { dim, heads, kvHeads, headDim, bias } = this.config;
    const { init, outInit = init, biasInit } = inits;
    const parts = rowsOf(this.config);
    this.qkv = new Linear(dim, parts[0] + parts[1] + parts[2], { bias, init, biasInit, parts });
    this.sharpness = new Parameter(fill({ shape: [heads], value: UNIT }));
    this.curvature = new Parameter(fill({ shape: [kvHeads], value: UNIT }));
    this.out = new Linear(heads * (headDim - 1), dim, { bias, init: outInit, biasInit });
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, kvHeads, headDim, window, alibi, maxRadius } = this.config;
    const { batch, length, causal, mask, cache } = context;
    // Radii go through sinh: halves would not do.
    const z = wide(this.qkv.forward(x));
    const all = heads + kvHeads;
    const points = channelsOf(z, 0, all * headDim).reshape([batch, length, all, headDim]);
    const { r, u } = polar.fromTangent(points, { bound: maxRadius });
    const turned = context.rotate(u, all);
    const { beta, sqrtC } = this.scales();
    const [queries, keys] = [headsOf(r, 0, heads), headsOf(r, heads, all)];
    const group = heads / kvHeads;
    const radii = mul(queries.reshape([batch, length, kvHeads, group]), sqrtC);
    const beside = concat(
      [radii.reshape(queries.shape), add(fill({ shape: queries.shape, value: 0 }), beta)],
      {
        axis: 3,
      },
    ).reshape([batch, length * heads * 2]);
    const values = channelsOf(z, all * headDim, z.shape[2]!).reshape([batch, length, kvHeads, headDim - 1]);
    const fresh = {
      u: headsOf(turned, heads, all),
      r: mul(keys.reshape([batch, length, kvHeads, 1]), sqrtC),
      v: concat([sqrt(add(normOf(values), 1)), values], { axis: 3 }),
    };
    const cached = cache instanceof RowCache;
    const seen = cached ? cache.append(fresh) : fresh;
    const sides = concat([beside, seen.r!.reshape([batch, seen.r!.shape[1]! * kvHeads])], { axis: 1 });
    // Float32 under autocast too: 1 - u · v is multiplied by sinh r sinh s, and of the mean's -⟨m, m⟩ halves leave nothing.
    const mean = within({ autocast: undefined }, 'HyperbolicAttention', () =>
      scoredAttention(headsOf(turned, 0, heads), seen.u!, seen.v!, sides, mask, {
        score: 'hyperbolic',
        causal,
        window,
        alibi,
        keys: cached ? cache.length : 0,
      }),
    );
    return spaceOf(mean);
  }

  /** β / √c [heads, 1] and √c [kvHeads, 1]. */
  protected scales(): { beta: Tensor; sqrtC: Tensor } {
    const { heads, kvHeads, maxRadius } = this.config;
    const learned = sqrt(add(softplus(this.curvature), LEAST_CURVATURE));
    const sqrtC = minimum(learned, MOST_RADIUS / maxRadius).reshape([kvHeads, 1]);
    const beta = div(softplus(this.sharpness).reshape([kvHeads, heads / kvHeads]), sqrtC);
    return { beta: beta.reshape([heads, 1]), sqrtC };
  }

  protected makeCache(batch: number): RowCache<'u' | 'r' | 'v'> {
    const { kvHeads, headDim } = this.config;
    return new RowCache(batch, { u: [kvHeads, headDim], r: [kvHeads, 1], v: [kvHeads, headDim] });
  }
}

type Sizes = Pick<CommonConfig, 'heads' | 'kvHeads' | 'headDim'>;

/** Rows of the projection: of queries, keys and values. */
const rowsOf = ({ heads, kvHeads, headDim }: Sizes) =>
  [heads * headDim, kvHeads * headDim, kvHeads * (headDim - 1)] as const;

const softplus = (x: Tensor): Tensor => neg(logSigmoid(neg(x)));

/** |x|² over the last axis, which stays. */
const normOf = (x: Tensor): Tensor => sum(square(x), { axis: -1, keepDims: true });

/**
 * The coordinates of space of the Einstein midpoint, from the mean m [..., D] of points of the hyperboloid:
 * m / √(-⟨m, m⟩), -⟨m, m⟩ = m₀² - |m|² >= 1 but for rounding. It is 0 where a query saw no key, and so is the result.
 */
function spaceOf(m: Tensor): Tensor {
  const D = m.shape[3]!;
  const [time, space] = [
    slice(m, { ends: [...m.shape.slice(0, 3), 1] }),
    slice(m, { starts: [0, 0, 0, 1], ends: [...m.shape.slice(0, 3), D] }),
  ];
  const product = sub(square(time), normOf(space));
  return div(space, sqrt(where(less(product, 0.5), 1, product)));
}

export const hyperbolicKind: AttentionKind<typeof options> = defineAttention({
  kind: 'hyperbolic',
  name: 'HyperbolicAttention',
  doc: 'softmax of hyperbolic distances, values averaged by the Einstein midpoint; learned sharpness and curvature',
  source: 'Gulcehre et al. 2019, arXiv:1805.09786',
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
    { kvHeads: 2, maxRadius: 3, window: 3, alibi: true },
    { causal: false, bias: false, headDim: 6 },
  ],
  check({ headDim }) {
    if (headDim < 2)
      throw new ArgumentError(`headDim is ${headDim}`, {
        op: 'HyperbolicAttention',
        hint: 'values have a coordinate of time beside those of space: at least 2',
      });
  },
  parameters: ({ dim, heads, kvHeads, headDim, bias }) =>
    rowsOf({ heads, kvHeads, headDim }).reduce((a, b) => a + b) * (dim + (bias ? 1 : 0)) +
    heads * (headDim - 1) * dim +
    (bias ? dim : 0) +
    heads +
    kvHeads,
  create: (config, inits) => new HyperbolicAttention(config, inits),
});
