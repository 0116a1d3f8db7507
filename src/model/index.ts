/** Models: what layers make together. */
export { Block, type BlockCall } from './block.js';
export { ModelCache } from './cache.js';
export {
  type GPTConfig,
  type GPTSettings,
  gptSchema,
  type LayerAttention,
  modelOptions,
  modelSchema,
} from './config.js';
export type { ExitOptions } from './exit.js';
export { type BlockForm, blockForms } from './forms.js';
export type { GenerateOptions, StreamOptions } from './generate.js';
export { type ForwardOptions, GPT } from './gpt.js';
export { type LossOptions, type Objective, objectives } from './objectives.js';
export { type ResidualRow, residualStats } from './residuals.js';
