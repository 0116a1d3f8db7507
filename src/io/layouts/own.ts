/** Our own layout: any model, its parameters under their names. What config.json says stands under `attn_vk`. */
import { InternalError } from '../../runtime/errors.js';
import type { Layout } from './layout.js';

export const ownLayout: Layout = {
  name: 'attn-vk',
  refuses: () => null,
  toConfig: () => ({ model_type: 'attn-vk', architectures: ['GPT'] }),
  fromConfig: () => {
    throw new InternalError('the configuration stands under attn_vk');
  },
  slots: (model) => [...model.namedParameters()].map(([name]) => ({ name, parameter: name })),
};
