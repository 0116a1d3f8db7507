/** The public surface of attn-vk. */
import './ops/methods.js';
import { calibrate } from './ops/calibration.js';
import { type MemoryReport, runtime, setCalibrator } from './runtime/runtime.js';

export {
  Attention,
  type AttentionCall,
  type AttentionInits,
  type AttentionKind,
  type Complexity,
  type Context,
  defineAttention,
  type MeasuredCall,
  type Supports,
} from './attention/attention.js';
export * from './attention/index.js';
export {
  type AnyAttentionConfig,
  attentionKind,
  attentionKinds,
  createAttention,
} from './attention/registry.js';
export { AttentionCache, RowCache, StateCache } from './attention/shared/cache.js';
export type { Config, ConfigInput } from './attention/shared/config.js';
export { type LayerEntropy, layerEntropies } from './attention/shared/entropies.js';
export {
  dropeTemperature,
  type YarnOptions,
  yarnFactor,
  yarnFrequencies,
} from './attention/shared/extension.js';
export type { AttentionMetrics, MetricsOptions } from './attention/shared/metrics.js';
export { Rotary, type RotaryCall, type RotaryOptions } from './attention/shared/positions.js';
export type { TileFigures } from './attention/shared/tile-meter.js';
export * from './autograd/index.js';
export { type DataKind, type DataSet, defineData, IGNORED, type Row, type Split } from './data/data.js';
export * from './data/index.js';
export { analyticLadder, type Ladder } from './data/ladder.js';
export * from './data/loader.js';
export { type MicroConfig, MicroLanguages } from './data/micro-languages.js';
export { dataKind, dataKinds, openData, parseData } from './data/registry.js';
export * from './geometry/entanglement.js';
export * as holographic from './geometry/hrr.js';
export * from './geometry/hyperbolic.js';
export * as quantum from './geometry/quantum.js';
export { type TtSvdOptions, ttFull, ttMatrix, ttMatrixSvd, ttSvd } from './geometry/tensor-train.js';
export * from './io/index.js';
export * from './model/index.js';
export * from './nn/index.js';
export { attentionStats } from './ops/attention.stats.js';
export { calibrate } from './ops/calibration.js';
export * from './ops/index.js';
export type { Methods } from './ops/methods.js';
export { simplicialStats } from './ops/simplicial.stats.js';
export * from './optim/index.js';
export * from './runtime/errors.js';
export { type Level, type Logger, setLogger } from './runtime/log.js';
export type { Explanation, ProfileRow, Route } from './runtime/native.js';
export {
  type MemoryReport,
  Runtime,
  type RuntimeOptions,
  runtime,
  survey,
  useRuntime,
} from './runtime/runtime.js';
export type { DType, TypedArray } from './tensor/dtype.js';
export { Generator, type GeneratorState, generator, manualSeed } from './tensor/generator.js';
export { keep, scope } from './tensor/scope.js';
export type { Shape } from './tensor/shape.js';
export type { StateDict, StateDictMatch } from './tensor/state-dict.js';
export { type NestedArray, Tensor, tensor } from './tensor/tensor.js';
export * from './tokenizer/index.js';
export * from './train/index.js';
export {
  dumpRunConfig,
  loadRunConfig,
  parseRunConfig,
  runSchema,
} from './train/run-config.js';

setCalibrator(calibrate);

/** Waits for everything recorded; rejects with the first failure that no read has reported. */
export const sync = (): Promise<void> => runtime().sync();

/** Live, peak and pooled bytes of the current runtime. */
export const memory = (): MemoryReport => runtime().memory();
