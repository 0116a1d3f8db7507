/**
 * Performer: softmax attention estimated by positive random features, FAVOR+ (Choromanski et al., "Rethinking attention
 * with Performers", arXiv:2009.14794, §2):
 *
 *   φ(x) = m^(-1/2) exp(W x - |x|² / 2 - c),   E[φ(q) · φ(k)] = exp(q · k),   x scaled by headDim^(-1/4)
 *
 * with the rows of W Gaussian and orthogonal within blocks, drawn once from the kind's seed. Of a query c is the maximum of
 * its own exponents; of keys it is 0: a maximum over the sequence, as in the original, lets the past see the future. The
 * features are computed in float32, whatever autocast says: an error of an exponent is one of a factor.
 */
import { z } from 'zod';
import { within } from '../autograd/modes.js';
import { concat, exp, linear, max, minimum, mul, square, sub, sum } from '../ops/index.js';
import { keep } from '../tensor/scope.js';
import { type Tensor, tensor } from '../tensor/tensor.js';
import { type AttentionInits, type AttentionKind, type Context, defineAttention } from './attention.js';
import type { ConfigInput } from './shared/config.js';
import { FeatureAttention, type Features } from './shared/features.js';
import { headsOf, wide } from './shared/heads.js';
import { orthogonalRows } from './shared/orthogonal.js';
import { recurrentOptions } from './shared/recurrent.js';

const MOST_FEATURES = 256;

const options = {
  ...recurrentOptions,
  features: z
    .int()
    .min(1)
    .max(MOST_FEATURES)
    .optional()
    .describe('random features of a head, 1 to 256; default twice headDim, at most 256'),
  seed: z.int().min(0).default(0).describe('of the random features, which are not trained'),
};

/** No exponent of a key goes beyond: sums of the features stay finite. Of normed inputs they are around 0. */
const MOST_EXPONENT = 60;

export class PerformerAttention extends FeatureAttention<typeof options> {
  /** Features are small numbers where keys are long: eps only keeps 0 / 0 away. */
  protected readonly eps = 1e-12;
  /** W: [features, headDim] */
  readonly directions: Tensor;

  constructor(config: ConfigInput<typeof options>, inits?: AttentionInits) {
    super(performerKind, config, inits);
    const { headDim, features = Math.min(MOST_FEATURES, 2 * headDim), seed } = this.config;
    this.directions = keep(tensor(orthogonalRows(features, headDim, seed), [features, headDim]));
  }

  protected features(qk: Tensor, rotate: Context['rotate']): Features {
    const { heads, headDim } = this.config;
    const [features] = this.directions.shape as [number, number];
    // Turned before the feature map: what is estimated is the softmax of turned queries and keys.
    const turned = rotate(qk);
    const x = mul(wide(turned), headDim ** -0.25);
    const along = within({ autocast: undefined }, 'PerformerAttention', () => linear(x, this.directions));
    const exponents = sub(along, mul(sum(square(x), { axis: -1, keepDims: true }), 0.5));
    const q = headsOf(exponents, 0, heads);
    const k = headsOf(exponents, heads, 2 * heads);
    const stable = [sub(q, max(q, { axis: -1, keepDims: true })), minimum(k, MOST_EXPONENT)];
    const plain = mul(exp(concat(stable, { axis: 2 })), features ** -0.5);
    return { plain, turned: plain };
  }
}

export const performerKind: AttentionKind<typeof options> = defineAttention({
  kind: 'performer',
  name: 'PerformerAttention',
  doc: 'softmax estimated by positive random features (FAVOR+); one state in the place of the past',
  source: 'Choromanski et al. 2021, arXiv:2009.14794',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: { mask: 'keys', causal: 'both', window: false, alibi: false, rope: true, grouped: false },
  samples: [{ causal: false, features: 7, headDim: 6, seed: 5 }],
  parameters: FeatureAttention.parameters,
  create: (config, inits) => new PerformerAttention(config, inits),
});
