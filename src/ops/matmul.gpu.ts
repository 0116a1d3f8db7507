/** Products of matrices on Vulkan: which kernel (shaders/matmul_*.comp) runs one, and with what tiles. */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { type DType, dtypeBytes, dtypeCode, perWord } from '../tensor/dtype.js';
import { type Spec, sizeOf } from '../tensor/shape.js';
import { type AnyActivation, activationCode } from './activations.js';
import type { GpuVariant, Problem } from './contract.js';
import { narrow, overTurns } from './launch.js';
import { type MatmulAttrs, type Walk, walk } from './matmul.walk.js';

/** An operand of a launch: its place among the plan's (inputs, outputs, scratch), and what lies there. */
export interface Place {
  operand: number;
  dtype: DType;
  bytes: number;
}
export const placed = (operand: number, { dtype, bytes }: Spec): Place => ({ operand, dtype, bytes });

/** out = act(a b + bias) + residual, and `kept` = a b + bias, of a's dtype. */
export interface Product extends Walk {
  a: Place;
  b: Place;
  out: Place;
  bias?: Place | undefined;
  residual?: Place | undefined;
  kept?: Place | undefined;
  transposeA: boolean;
  transposeB: boolean;
  activation: AnyActivation;
  /** The first place that is free for scratch. */
  free: number;
}

/** A family of kernels that run products. */
export interface Tier {
  name: string;
  /** Can it run at all? null, or the reason why not. */
  admits(product: Product, caps: Caps): string | null;
  /** Is it worth it here? */
  prefers(product: Product, caps: Caps): boolean;
  plan(product: Product, caps: Caps): GpuPlan;
}

/** A part of a product whose operands fit bindings, cut along the first batch dimension or along the rows. */
interface Piece extends Walk {
  binds: Bind[];
}

const NAMES = ['a', 'b', 'bias', 'out', 'residual', 'the pre-activation'];

/** The pieces of a product; or why there are none. Absent operands are bound as b, which every product has. */
function cut(p: Product, caps: Caps): Piece[] | string {
  const limit = Math.min(caps.maxBindingBytes, 2 ** 32 - 256); // kernels count in 32 bits
  const batched = p.batch.length > 0;
  const rowsOfA = p.transposeA ? 0 : p.k;
  const rowsOfOut = (batched ? sizeOf(p.batch.slice(1)) * p.m : 1) * p.n;
  const given = [p.a, p.b, p.bias, p.out, p.residual, p.kept];
  // Elements that one step along the cut adds to each operand; 0 where it stays whole.
  const moves = [
    batched ? p.aSteps[0]! * p.m * p.k : rowsOfA,
    batched ? p.bSteps[0]! * p.k * p.n : 0,
    0,
    rowsOfOut,
    rowsOfOut,
    rowsOfOut,
  ];
  const operands = given.map((place, i) => ({
    ...(place ?? p.b),
    elements: moves[place ? i : 1]!,
    write: i === 3 || !!(i === 5 && place),
  }));
  const steps = operands.map((o) => o.elements * dtypeBytes[o.dtype]);
  const tooLarge = (i: number) => operands[i]!.bytes > limit;
  if (!operands.some((_, i) => tooLarge(i)))
    return [{ ...p, binds: operands.map(({ operand, write }) => ({ operand, write })) }];

  const whole = NAMES.find((_, i) => tooLarge(i) && steps[i] === 0);
  if (whole || (!batched && p.transposeA))
    return `${whole ?? 'out'} is larger than the ${limit} bytes that this device binds, and cannot be cut`;
  const alignment = Math.max(4, caps.offsetAlignment); // a power of two
  const even = Math.max(...steps.map((s) => (s === 0 ? 1 : alignment / commonPowerOfTwo(s, alignment))));
  const most = Math.floor(limit / Math.max(...steps) / even) * even;
  if (most === 0) return `one matrix of it is larger than the ${limit} bytes that this device binds`;
  const total = batched ? p.batch[0]! : p.m;
  const pieces: Piece[] = [];
  for (let at = 0; at < total; at += most) {
    const count = Math.min(most, total - at);
    const binds = operands.map(({ operand, write }, i) => {
      const step = steps[i]!;
      const range = step === 0 ? {} : { offset: at * step, bytes: Math.ceil((count * step) / 4) * 4 };
      return { operand, write, ...range };
    });
    pieces.push(batched ? { ...p, batch: [count, ...p.batch.slice(1)], binds } : { ...p, m: count, binds });
  }
  return pieces;
}

/** The largest power of two, up to `most`, that divides n. */
function commonPowerOfTwo(n: number, most: number): number {
  let p = 1;
  while (p < most && n % (2 * p) === 0) p *= 2;
  return p;
}

const isHalf = ({ a }: Product) => perWord(a.dtype) === 2;

/** Tiled kernels write whole words: rows that end within one go through fp32 scratch, narrowed afterwards. */
const ragged = (p: Product) => perWord(p.out.dtype) === 2 && p.n % 2 === 1;

/** Why a tiled kernel cannot run, or null. */
function tiledRefusal(p: Product, caps: Caps): string | null {
  const pieces = cut(p, caps);
  if (typeof pieces === 'string') return pieces;
  const odd = `rows of ${p.n} halves end within a word`;
  if (p.kept && perWord(p.kept.dtype) === 2 && p.n % 2 === 1) return odd;
  if (ragged(p) && (pieces.length > 1 || 2 * p.out.bytes > caps.maxBindingBytes))
    return `${odd}, and fp32 scratch would exceed a binding`;
  return null;
}

/** Elements of each operand's stored rows divisible by `by`: vectors of them may be read at once. */
const divisible = (p: Product, by: number): [boolean, boolean] => [
  (p.transposeA ? p.m : p.k) % by === 0,
  (p.transposeB ? p.k : p.n) % by === 0,
];

/** dtype of an operand that may be absent, for a specialisation constant. */
const optional = (place: Place | undefined) => (place ? 1 + dtypeCode[place.dtype] : 0);

/** Launches of one kernel over all pieces; `tile` is what a group makes, rows x columns. */
function launches(
  p: Product,
  caps: Caps,
  kernel: { shader: string; size: number; spec: number[]; tile: [number, number]; across?: number },
): GpuPlan {
  const simple = kernel.shader === 'matmul_simple';
  const viaScratch = !simple && ragged(p) && p.out.bytes > 0;
  const dispatches: Dispatch[] = [];
  for (const { m, n, k, batch, aSteps, bSteps, binds } of cut(p, caps) as Piece[]) {
    const elements = sizeOf(batch) * m * n;
    if (elements === 0) continue;
    const perUnit = Math.max(perWord(p.out.dtype), p.kept ? perWord(p.kept.dtype) : 1);
    const tiles = [Math.ceil(m / kernel.tile[0]), Math.ceil(n / kernel.tile[1])] as const;
    const six = (list: readonly number[]) => Array.from({ length: 6 }, (_, i) => list[i] ?? 0);
    dispatches.push({
      shader: kernel.shader,
      spec: [
        kernel.size,
        dtypeCode[p.a.dtype],
        viaScratch ? dtypeCode.float32 : dtypeCode[p.out.dtype],
        Number(p.transposeA),
        Number(p.transposeB),
        activationCode[p.activation],
        optional(p.bias),
        optional(p.residual),
        Number(!!p.kept),
        ...kernel.spec,
      ],
      push: [
        m,
        n,
        k,
        simple ? elements : tiles[0],
        tiles[1],
        kernel.across ?? 0,
        batch.length,
        ...six(batch),
        ...six(aSteps),
        ...six(bSteps),
      ],
      groups: simple ? Math.ceil(elements / perUnit / kernel.size) : tiles[0] * tiles[1] * sizeOf(batch),
      binds: viaScratch ? binds.with(3, { operand: p.free, write: true }) : binds,
    });
  }
  if (!viaScratch) return { dispatches };
  const size = sizeOf(p.batch) * p.m * p.n;
  dispatches.push(narrow(p.free, p.out.operand, { size, dtype: p.out.dtype }, caps));
  return { dispatches, scratch: [Math.ceil(size / 4) * 16] };
}

const refusal = (p: Product, caps: Caps): string | null => {
  const pieces = cut(p, caps);
  return typeof pieces === 'string' ? pieces : null;
};

const powerOfTwoFrom = (n: number) => 2 ** Math.ceil(Math.log2(Math.max(1, n)));

const shared: Tier = {
  name: 'shared',
  admits(p, caps) {
    const [, , , bytes] = sharedTile(p, caps);
    if (caps.maxInvocations < 64) return `groups of ${caps.maxInvocations} invocations are too small`;
    if (bytes > caps.sharedBytes)
      return `its tiles take ${bytes} of ${caps.sharedBytes} bytes of shared memory`;
    return overTurns(2 * p.k, caps) ?? tiledRefusal(p, caps);
  },
  // On a CPU a barrier costs hundreds of multiply-adds; for a few rows or columns a tile is mostly padding.
  prefers(p, caps) {
    return caps.type !== 'cpu' && p.m >= 8 && p.n >= 8;
  },
  plan(p, caps) {
    const [side, rows, cols] = sharedTile(p, caps);
    const quads = divisible(p, 4).map(Number);
    return launches(p, caps, {
      shader: 'matmul_shared',
      size: (side / rows) * (side / cols),
      spec: [side, side, sharedDepth, rows, cols, ...quads],
      tile: [side, side],
    });
  },
};

const sharedDepth = 16;

/** Side of a group's tile, rows and columns of a thread's, bytes of shared memory. */
function sharedTile(
  { m, n, batch }: Product,
  caps: Caps,
): [side: number, rows: number, cols: number, bytes: number] {
  const bytes = (side: number) => 2 * sharedDepth * (side + 4) * 4;
  // Large tiles reuse what they load twice as often, where there are enough of them to fill a big device.
  const many = Math.ceil(m / 128) * Math.ceil(n / 128) * sizeOf(batch) >= 128;
  if (many && caps.type === 'discrete' && caps.maxInvocations >= 256 && bytes(128) <= caps.sharedBytes)
    return [128, 8, 8, bytes(128)];
  const [rows, cols] = caps.maxInvocations >= 256 ? [4, 4] : caps.maxInvocations >= 128 ? [8, 4] : [8, 8];
  return [64, rows, cols, bytes(64)];
}

const nobarrier: Tier = {
  name: 'nobarrier',
  admits: (p, caps) => overTurns(p.k / (isHalf(p) ? 2 : 1), caps) ?? tiledRefusal(p, caps),
  prefers: (_, caps) => caps.type === 'cpu',
  plan(p, caps) {
    const { m, n, k, batch } = p;
    const flops = 2 * m * n * k * sizeOf(batch);
    // A larger tile loads less and compiles longer: 16 x 16 takes a software driver a second, once.
    const most = flops < 2 ** 21 ? 4 : flops < 2 ** 27 ? 8 : 16;
    const fit = (extent: number) => Math.min(most, Math.max(2, powerOfTwoFrom(extent)));
    const [rows, cols] = [fit(m), fit(n)];
    const size = 8;
    const across = Math.min(m <= rows ? size : 4, powerOfTwoFrom(n / cols));
    const half = isHalf(p);
    const pairs = divisible(p, 2).map((even) => Number(half && even));
    return launches(p, caps, {
      shader: 'matmul_nobarrier',
      size,
      spec: [rows, cols, half ? 2 : 1, ...pairs],
      tile: [(rows * size) / across, cols * across],
      across,
    });
  },
};

const simple: Tier = {
  name: 'simple',
  admits: (p, caps) =>
    overTurns(p.k * Math.max(perWord(p.out.dtype), p.kept ? perWord(p.kept.dtype) : 1), caps) ??
    refusal(p, caps),
  prefers: () => true,
  plan: (p, caps) => launches(p, caps, { shader: 'matmul_simple', size: 64, spec: [], tile: [1, 1] }),
};

/** Best first. */
export const tiers: readonly Tier[] = [shared, nobarrier, simple];

function productOf(problem: Problem<MatmulAttrs>): Product {
  const [a, b, bias] = problem.inputs;
  const out = problem.inputs.length;
  return {
    ...walk(problem),
    ...problem.attrs,
    a: placed(0, a!),
    b: placed(1, b!),
    bias: bias && placed(2, bias),
    out: placed(out, problem.outputs[0]!),
    free: out + 1,
  };
}

export const matmulVariants: readonly GpuVariant<MatmulAttrs>[] = tiers.map(
  ({ name, admits, prefers, plan }) => ({
    name,
    admits: (problem, caps) => admits(productOf(problem), caps),
    prefers: (problem, caps) => prefers(productOf(problem), caps),
    plan: (problem, caps) => plan(productOf(problem), caps),
  }),
);
