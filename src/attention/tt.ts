/**
 * Exact softmax attention whose projections are tensor trains (Novikov et al., "Tensorizing neural networks", NeurIPS
 * 2015): W[i, j] = Π_k G_k[i_k, j_k], i and j split into modes. It has fewer parameters and optimiser states than
 * `flash`; its activations are the same, for the cores are contracted to W once a step and W multiplies.
 */
import { z } from 'zod';
import {
  balancedModes,
  bondLimits,
  defaultModes,
  MOST_MODES,
  type TrainShape,
  trainShape,
} from '../geometry/tensor-train.js';
import { ArgumentError } from '../runtime/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  Attention,
  type AttentionInits,
  type AttentionKind,
  type Context,
  defineAttention,
} from './attention.js';
import type { Config, ConfigInput } from './shared/config.js';
import { attendPacked, type KeyCache, keyCache } from './shared/packed.js';
import { TrainLinear } from './shared/trains.js';

const options = {
  rank: z
    .int()
    .min(1)
    .optional()
    .describe('width of the bonds between cores; default 16, or as much as the modes can hold'),
  modes: z
    .array(z.int().min(1))
    .min(1)
    .max(MOST_MODES)
    .optional()
    .describe('factors of dim, one a core; default as alike as dim allows, of at most 16'),
  init: z
    .enum(['random', 'svd'])
    .default('random')
    .describe('Gaussian cores of the right variance, or the TT-SVD of a dense matrix'),
  shareCores: z
    .boolean()
    .default(false)
    .describe('queries, keys and values differ in their first core and share those after it'),
};

const DEFAULT_RANK = 16;
const name = 'TensorTrainAttention';

/** The trains of a layer: of queries, keys and values, and back. */
interface Plan {
  /** One each; or, with shared cores, one of all three, whose first core holds their rows one below the other. */
  qkv: TrainShape[];
  out: TrainShape;
}

/** @throws ArgumentError for modes, ranks or sharing that the sizes do not allow */
function planOf(config: Config<typeof options>): Plan {
  const { dim, heads, kvHeads, headDim, modes = defaultModes(dim), shareCores, rank } = config;
  const refuse = (what: string, hint: string): never => {
    throw new ArgumentError(what, { op: name, hint });
  };
  if (modes.reduce((a, b) => a * b, 1) !== dim)
    refuse(`modes are [${modes}]`, `1 to ${MOST_MODES} whole numbers whose product is dim, ${dim}`);
  const split = (n: number) => (n === dim ? modes : balancedModes(n, modes.length));
  const inner = split(heads * headDim);
  const outs = shareCores ? [together(inner)] : [inner, split(kvHeads * headDim), split(kvHeads * headDim)];
  const bonds = [...outs.flatMap((out) => bondLimits(out, modes)), ...bondLimits(modes, inner)];
  const most = Math.max(1, ...bonds);
  if (rank !== undefined && rank > most)
    refuse(`rank is ${rank}`, `from 1 to ${most}: modes [${inner}] by [${modes}] hold no more`);
  const bond = rank ?? Math.min(DEFAULT_RANK, most);
  return {
    qkv: outs.map((out) => trainShape(out, modes, bond)),
    out: trainShape(modes, inner, bond),
  };

  /** The first of the modes of queries, keys and values, one below the other, and the modes that they share. */
  function together([first, ...rest]: readonly number[]): number[] {
    const ofKeys = (first! * kvHeads) / heads;
    if (rest.length === 0)
      refuse('shareCores is true', `modes [${modes}] make one core: there is none to share`);
    if (!Number.isInteger(ofKeys))
      refuse(
        `shareCores is true, kvHeads is ${kvHeads} of ${heads}`,
        `the first of the modes [${inner}] of the heads divides by heads / kvHeads; or share none`,
      );
    return [first! + 2 * ofKeys, ...rest];
  }
}

export class TensorTrainAttention extends Attention<typeof options> {
  /** Queries, keys and values: [(heads + 2 kvHeads) headDim, dim]. */
  readonly qkv: TrainLinear;
  readonly out: TrainLinear;

  constructor(config: ConfigInput<typeof options>, inits: AttentionInits = {}) {
    super(ttKind, config);
    const { bias, init: start } = this.config;
    const { init, outInit = init, biasInit } = inits;
    const plan = planOf(this.config);
    this.qkv = new TrainLinear(plan.qkv, { bias, start, init, biasInit });
    this.out = new TrainLinear([plan.out], { bias, start, init: outInit, biasInit });
  }

  protected attend(x: Tensor, context: Context): Tensor {
    const { heads, kvHeads, headDim } = this.config;
    const qkv = this.qkv.forward(x).reshape([...x.shape.slice(0, 2), heads + 2 * kvHeads, headDim]);
    return attendPacked(context.rotate(qkv, heads + kvHeads), this.config, context);
  }

  protected makeCache(batch: number): KeyCache {
    return keyCache(batch, this.config);
  }
}

export const ttKind: AttentionKind<typeof options> = defineAttention({
  kind: 'tt',
  name,
  doc: 'exact softmax; projections are trains of cores',
  source: 'Novikov et al. 2015, arXiv:1509.06569',
  options,
  complexity: { time: 'T^2', memory: 'T', cache: 'T' },
  supports: { mask: 'any', causal: 'both', window: true, alibi: true, rope: true, grouped: true },
  samples: [
    { rank: 3, kvHeads: 2, init: 'svd', window: 3, alibi: true },
    { shareCores: true, kvHeads: 2, modes: [4, 4], bias: false },
  ],
  check: (config) => void planOf(config),
  parameters(config) {
    const { qkv, out } = planOf(config);
    return TrainLinear.parameters(qkv, config.bias) + TrainLinear.parameters([out], config.bias);
  },
  create: (config, inits) => new TensorTrainAttention(config, inits),
});
