/**
 * Linear attention with φ(x) = elu(x) + 1 (Katharopoulos et al., "Transformers are RNNs", arXiv:2006.16236). Rotation by
 * positions turns φ(q) and φ(k) in the numerator alone: the denominator stays positive (RoFormer, arXiv:2104.09864, eq. 19).
 */
import { eluPlusOne } from '../ops/index.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AttentionInits, type AttentionKind, type Context, defineAttention } from './attention.js';
import type { ConfigInput } from './shared/config.js';
import { FeatureAttention, type Features } from './shared/features.js';
import { recurrentOptions } from './shared/recurrent.js';

const options = { ...recurrentOptions };

export class LinearAttention extends FeatureAttention<typeof options> {
  protected readonly eps = 1e-6;

  constructor(config: ConfigInput<typeof options>, inits?: AttentionInits) {
    super(linearKind, config, inits);
  }

  protected features(qk: Tensor, rotate: Context['rotate']): Features {
    const plain = eluPlusOne(qk);
    return { plain, turned: rotate(plain) };
  }
}

export const linearKind: AttentionKind<typeof options> = defineAttention({
  kind: 'linear',
  name: 'LinearAttention',
  doc: 'sums of keys and values by the feature map elu + 1; one state in the place of the past',
  source: 'Katharopoulos et al. 2020, arXiv:2006.16236',
  options,
  complexity: { time: 'T', memory: 'T', cache: '1' },
  supports: {
    mask: 'keys',
    causal: 'both',
    window: false,
    alibi: false,
    rope: true,
    stretch: false,
    grouped: false,
  },
  samples: [{ causal: false }],
  parameters: FeatureAttention.parameters,
  create: (config, inits) => new LinearAttention(config, inits),
});
