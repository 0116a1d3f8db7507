/** What crosses the border to native/addon.cc. No function there is named after an op. */

/** Facts about one Vulkan device, as native/vulkan reports them. Kernels ask these and assume nothing. */
export interface Caps {
  index: number;
  name: string;
  type: 'discrete' | 'integrated' | 'virtual' | 'cpu' | 'other';
  vendorId: number;
  deviceId: number;
  driverName: string;
  driverInfo: string;
  driverVersion: number;
  apiVersion: string;
  uuid: string;
  subgroupSize: number;
  subgroupMin: number;
  subgroupMax: number;
  /** 'basic' 'vote' 'arithmetic' 'ballot' 'shuffle' 'shuffleRelative' 'clustered' 'quad', usable in compute. */
  subgroupOps: string[];
  maxInvocations: number;
  maxGroupSize: [number, number, number];
  maxGroupCount: [number, number, number];
  sharedBytes: number;
  maxBindingBytes: number;
  maxBindings: number;
  maxPushBytes: number;
  offsetAlignment: number;
  maxAllocationBytes: number;
  /** Device-local heap in bytes. */
  heapBytes: number;
  /** Device memory is host-visible and cached: no staging either way. */
  unified: boolean;
  float16: boolean;
  storage16: boolean;
  timelineSemaphore: boolean;
  cooperativeMatrix: boolean;
  timestampPeriodNs: number;
  /** Why this device cannot be used; empty when it can. */
  unusable: string;
}

/** One operand bound to a dispatch: inputs first, then outputs, then the plan's scratch buffers. */
export interface Bind {
  operand: number;
  /** Byte range, for operands larger than a binding may be. Default: the whole operand. */
  offset?: number;
  bytes?: number;
  /** The kernel writes it. Default: true for outputs and scratch, false for inputs. */
  write?: boolean;
}

/** One kernel launch of a GPU plan. */
export interface Dispatch {
  /** File name in shaders/, without `.comp`. */
  shader: string;
  /** Specialisation constants by id; 0 is the workgroup size. Floats go in as `floatBits(x)`. */
  spec: readonly number[];
  /** Push-constant words after the {base, count} header: at most 30, floats as `floatBits(x)`. */
  push: readonly number[];
  /** Workgroups, one-dimensional, any number below 2^32. */
  groups: number;
  binds: readonly Bind[];
}

/** How an op runs on the GPU: launches in order, hazards between them found by the stream. */
export interface GpuPlan {
  dispatches: readonly Dispatch[];
  /** Bytes of each temporary buffer. */
  scratch?: readonly number[];
}

export interface CpuPlan {
  /** Name under which the kernel registered itself. */
  kernel: string;
  /** Packed attributes, read in the same order by the kernel's factory. */
  attrs: readonly number[];
}

/** What an op costs: the router's and the roofline's figures. */
export interface Cost {
  flops: number;
  bytes: number;
  /** Ops whose rates resemble each other: what calibration measures. */
  family: Family;
}

/**
 * map: streams, a few flops an element · special: exp-like maps · reduce: many to one · move: permutes, gathers ·
 * scan: cumsum · gemm: matmul-like · random: counter-based generators · attention: tiles of two matmuls and a softmax.
 */
export type Family = 'map' | 'special' | 'reduce' | 'move' | 'scan' | 'gemm' | 'random' | 'attention';

/** An operand of a prepared op. For inputs, values in [low, high] suit the op: self-tests and calibration draw them. */
export interface OperandInfo {
  bytes: number;
  /** dtypeCode of the dtype. */
  dtype: number;
  low: number;
  high: number;
}

/** An op, its shapes, dtypes and attributes, made ready once and recorded many times. */
export interface Prepared {
  op: string;
  /** Shapes and attributes in words, for `explain()`. */
  problem: string;
  inputs: readonly OperandInfo[];
  outputs: readonly OperandInfo[];
  /** Inputs that it changes in place. */
  updates: readonly number[];
  /** Where an input failed, what it updates failed too. */
  spoils: boolean;
  cpu: CpuPlan;
  /** `variant` names what the start-up self-test proves: op, variant and dtype. */
  gpu: (GpuPlan & { variant: string }) | { reason: string };
  cost: Cost;
  /** dtype of the first input or output: rates are kept apart by it. */
  dtype: string;
  /** Prepared problem that proves the same GPU variant on a small odd shape, and its tolerance. -1: none. */
  probe: number;
  probeTolerance: number;
}
