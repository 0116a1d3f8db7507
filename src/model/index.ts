/** Models: what layers make together. */
export type { GenerateOptions } from './generate.js';
export {
  Block,
  type ForwardOptions,
  GPT,
  type GPTConfig,
  type LayerAttention,
  type LossOptions,
  ModelCache,
} from './gpt.js';
