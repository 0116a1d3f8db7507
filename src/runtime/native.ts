/** The addon's face, typed: native/addon.cc is the other side. */
import type { Caps, Prepared } from './binding.js';
import { loadNative } from './load.js';

export interface EngineOptions {
  device?: number;
  validate: boolean;
  route: Route;
  threads: number;
  hostBudget: number;
  deviceBudget: number;
  cacheFolder: string;
  /** Of the package: calibration and self-tests of another one do not count. */
  version: string;
  onWarning(message: string): void;
}

export type Route = 'auto' | 'cpu' | 'gpu';

/** Counters of the engine; `device` only when asked to wait and where there is one. All sizes in bytes. */
export interface EngineStats {
  host: { live: number; peak: number; pooled: number; budget: number; allocations: number };
  device?: {
    live: number;
    peak: number;
    pooled: number;
    slabs: number;
    dispatches: number;
    barriers: number;
    submits: number;
    pipelines: number;
    uploaded: number;
    downloaded: number;
  };
  /** Buffers alive in the engine (only when asked to wait). */
  buffers?: number;
  blocks: number;
  opsCpu: number;
  opsGpu: number;
  uploads: number;
  downloads: number;
}

/** Why an op ran where it ran. Times in seconds; `gpu` is Infinity where it is impossible. */
export interface Explanation {
  op: string;
  problem: string;
  cpu: number;
  gpu: number;
  /** Copies that this choice caused. */
  transfer: number;
  side: 'cpu' | 'gpu';
  /** Where the estimate comes from: a default, this machine's calibration, or what ran before. */
  source: 'default' | 'calibrated' | 'observed';
  reason: string;
}

/** What the calls of one problem took on one side, all together. */
export interface ProfileRow {
  op: string;
  problem: string;
  side: 'cpu' | 'gpu';
  count: number;
  seconds: number;
  flops: number;
  bytes: number;
}

export interface Routing {
  calibrated: boolean;
  /** File that keeps calibration, observations and self-test results; empty where nothing is kept. */
  path: string;
  /** Self-test by GPU variant: '' passed, else why the variant is not used on this driver. */
  probes: Record<string, string>;
}

type Targets = ArrayBufferView[] | undefined;

export interface NativeEngine {
  caps(): Caps | null;
  prepare(number: number, prepared: Prepared): void;
  upload(data: ArrayBufferView): number;
  submit(
    words: Int32Array,
    count: number,
    targets: Targets,
    barrier: boolean,
    externalDelta: number,
  ): Promise<void> | undefined;
  submitSync(
    words: Int32Array,
    count: number,
    targets: Targets,
    barrier: boolean,
    externalDelta: number,
  ): void;
  stats(wait: boolean): EngineStats;
  /** Fills [host, device] with the peaks after all submitted work, and begins new ones. */
  takePeak(target: Float64Array): Promise<void>;
  trim(): void;
  calibrate(prepared: readonly number[], seconds: number): Promise<void>;
  explain(on: boolean): Explanation[];
  profile(on: boolean): ProfileRow[];
  routing(): Routing;
  setRoute(route: Route): void;
  takeMessages(): string[];
  dispose(): void;
}

/** How the Vulkan loader, its drivers and devices were found: what `attn-vk doctor` prints. */
export interface Survey {
  loader: boolean;
  loaderPath: string;
  loaderVersion: string;
  loaderError: string;
  drivers: string[];
  layers: string[];
  attempts: string[];
  devices: Caps[];
}

export interface CpuInfo {
  model: string;
  features: string[];
  cores: number;
  memoryBytes: number;
  kernels: string[];
}

export interface Native {
  Engine: new (options: EngineOptions) => NativeEngine;
  survey(): Survey;
  cpuInfo(): CpuInfo;
  /** Ends all engines of this thread: the process is about to end. */
  shutDown(): void;
}

let loaded: Native | undefined;

export function native(): Native {
  if (!loaded) {
    loaded = loadNative() as Native;
    process.once('exit', loaded.shutDown);
  }
  return loaded;
}
