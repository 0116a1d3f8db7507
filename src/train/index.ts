/** Training by configuration. */
export { type CheckpointState, readCheckpoint } from './checkpoint.js';
export { CHECKPOINTS, Checkpoints } from './checkpoints.js';
export type { RunConfig, TrainConfig } from './config.js';
export { type Evaluation, evaluate } from './evaluate.js';
export type { Hook, MetricsRow, Outcome, Run } from './hook.js';
export type { ManifestFile, Session } from './manifest.js';
export type { TrainerOptions } from './open.js';
export { onSignals, type Signal, type Signals } from './signals.js';
export { Trainer } from './trainer.js';
