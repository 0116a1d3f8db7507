/** Optimisers, schedules, clipping. */
export { AdamW, type AdamWHyper } from './adamw.js';
export { clipGradNorm } from './clip.js';
export { Muon, type MuonHyper, type MuonOptions } from './muon.js';
export {
  Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type ParamGroup,
  type Params,
} from './optimizer.js';
export type { Schedule, ScheduleOptions } from './schedule.js';
export * as schedule from './schedule.js';
export { SGD, type SGDHyper } from './sgd.js';
