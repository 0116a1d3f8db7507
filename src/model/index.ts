/** Models: what layers make together. */
export {
  type GPTConfig,
  type GPTSettings,
  gptSchema,
  type LayerAttention,
  modelOptions,
} from './config.js';
export type { GenerateOptions } from './generate.js';
export {
  Block,
  type ForwardOptions,
  GPT,
  type LossOptions,
  ModelCache,
} from './gpt.js';
