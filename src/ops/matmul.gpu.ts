/** matmul on Vulkan: which of its kernels (shaders/matmul_*.comp) runs a problem, and with what tiles. */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeBytes, dtypeCode, perWord } from '../tensor/dtype.js';
import { sizeOf } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import { narrow, overTurns } from './launch.js';
import { activations, type MatmulAttrs, type Walk, walk } from './matmul.walk.js';

type MatmulProblem = Problem<MatmulAttrs>;

/** A part of the problem whose operands fit bindings, cut along the first batch dimension or along the rows. */
interface Piece extends Walk {
  binds: Bind[];
}

/** The pieces of a problem; or why there are none. Binds: a, b, bias (b again where there is none), out. */
function cut(problem: MatmulProblem, caps: Caps): Piece[] | string {
  const w = walk(problem);
  const [a, b, bias] = problem.inputs;
  const out = problem.outputs[0]!;
  const limit = Math.min(caps.maxBindingBytes, 2 ** 32 - 256); // kernels count in 32 bits
  const batched = w.batch.length > 0;
  const rowsOfA = problem.attrs.transposeA ? 0 : w.k * dtypeBytes[a!.dtype];
  // Bytes that one step along the cut adds to each operand; 0 where it stays whole.
  const steps = [
    batched ? w.aSteps[0]! * w.m * w.k * dtypeBytes[a!.dtype] : rowsOfA,
    batched ? w.bSteps[0]! * w.k * w.n * dtypeBytes[b!.dtype] : 0,
    0,
    (batched ? sizeOf(w.batch.slice(1)) * w.m : 1) * w.n * dtypeBytes[out.dtype],
  ];
  const operands = [0, 1, bias ? 2 : 1, problem.inputs.length];
  const bytes = [a!.bytes, b!.bytes, bias?.bytes ?? 0, out.bytes];
  if (Math.max(...bytes) <= limit)
    return [{ ...w, binds: operands.map((operand, i) => ({ operand, write: i === 3 })) }];

  const whole = ['a', 'b', 'bias', 'out'].find((_, i) => bytes[i]! > limit && steps[i] === 0);
  if (whole || (!batched && problem.attrs.transposeA))
    return `${whole ?? 'out'} is larger than the ${limit} bytes that this device binds, and cannot be cut`;
  const alignment = Math.max(4, caps.offsetAlignment); // a power of two
  const even = Math.max(...steps.map((s) => (s === 0 ? 1 : alignment / commonPowerOfTwo(s, alignment))));
  const most = Math.floor(limit / Math.max(...steps) / even) * even;
  if (most === 0) return `one matrix of it is larger than the ${limit} bytes that this device binds`;
  const total = batched ? w.batch[0]! : w.m;
  const pieces: Piece[] = [];
  for (let at = 0; at < total; at += most) {
    const count = Math.min(most, total - at);
    const binds = operands.map((operand, i) => {
      const step = steps[i === 2 && !bias ? 1 : i]!;
      const range = step === 0 ? {} : { offset: at * step, bytes: Math.ceil((count * step) / 4) * 4 };
      return { operand, write: i === 3, ...range };
    });
    pieces.push(batched ? { ...w, batch: [count, ...w.batch.slice(1)], binds } : { ...w, m: count, binds });
  }
  return pieces;
}

/** The largest power of two, up to `most`, that divides n. */
function commonPowerOfTwo(n: number, most: number): number {
  let p = 1;
  while (p < most && n % (2 * p) === 0) p *= 2;
  return p;
}

const isHalf = (problem: MatmulProblem) => perWord(problem.inputs[0]!.dtype) === 2;

/** Tiled kernels write whole words: rows that end within one go through fp32 scratch, narrowed afterwards. */
function ragged(problem: MatmulProblem): boolean {
  return perWord(problem.outputs[0]!.dtype) === 2 && walk(problem).n % 2 === 1;
}

/** Why a tiled kernel cannot run, or null. */
function tiledRefusal(problem: MatmulProblem, caps: Caps): string | null {
  const out = problem.outputs[0]!;
  const pieces = cut(problem, caps);
  if (typeof pieces === 'string') return pieces;
  if (ragged(problem) && (pieces.length > 1 || out.size * 4 > caps.maxBindingBytes))
    return `rows of ${walk(problem).n} halves end within a word, and fp32 scratch would exceed a binding`;
  return null;
}

/** Elements of each operand's stored rows divisible by `by`: vectors of them may be read at once. */
const divisible = (problem: MatmulProblem, by: number): [boolean, boolean] => {
  const { m, n, k } = walk(problem);
  const { transposeA, transposeB } = problem.attrs;
  return [(transposeA ? m : k) % by === 0, (transposeB ? k : n) % by === 0];
};

/** Launches of one kernel over all pieces; `tile` is what a group makes, rows x columns. */
function launches(
  problem: MatmulProblem,
  caps: Caps,
  kernel: { shader: string; size: number; spec: number[]; tile: [number, number]; across?: number },
): GpuPlan {
  const { transposeA, transposeB, activation } = problem.attrs;
  const pieces = cut(problem, caps) as Piece[];
  const out = problem.outputs[0]!;
  const simple = kernel.shader === 'matmul_simple';
  const viaScratch = !simple && ragged(problem) && out.size > 0;
  const scratch = problem.inputs.length + 1; // as an operand: after the inputs and the output
  const dispatches: Dispatch[] = [];
  for (const { m, n, k, batch, aSteps, bSteps, binds } of pieces) {
    const elements = sizeOf(batch) * m * n;
    if (elements === 0) continue;
    const words = Math.ceil(elements / perWord(out.dtype));
    const tiles = [Math.ceil(m / kernel.tile[0]), Math.ceil(n / kernel.tile[1])] as const;
    const six = (list: readonly number[]) => Array.from({ length: 6 }, (_, i) => list[i] ?? 0);
    dispatches.push({
      shader: kernel.shader,
      spec: [
        kernel.size,
        dtypeCode[problem.inputs[0]!.dtype],
        viaScratch ? dtypeCode.float32 : dtypeCode[out.dtype],
        Number(transposeA),
        Number(transposeB),
        activations.indexOf(activation),
        Number(problem.inputs.length > 2),
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
      groups: simple ? Math.ceil(words / kernel.size) : tiles[0] * tiles[1] * sizeOf(batch),
      binds: viaScratch ? [...binds.slice(0, 3), { operand: scratch, write: true }] : binds,
    });
  }
  if (!viaScratch) return { dispatches };
  dispatches.push(narrow(scratch, problem.inputs.length, out, caps));
  return { dispatches, scratch: [Math.ceil(out.size / 4) * 16] };
}

const refusal = (problem: MatmulProblem, caps: Caps): string | null => {
  const pieces = cut(problem, caps);
  return typeof pieces === 'string' ? pieces : null;
};

const powerOfTwoFrom = (n: number) => 2 ** Math.ceil(Math.log2(Math.max(1, n)));

const shared: GpuVariant<MatmulAttrs> = {
  name: 'shared',
  admits(problem, caps) {
    const [, , , bytes] = sharedTile(problem, caps);
    if (caps.maxInvocations < 64) return `groups of ${caps.maxInvocations} invocations are too small`;
    if (bytes > caps.sharedBytes)
      return `its tiles take ${bytes} of ${caps.sharedBytes} bytes of shared memory`;
    return overTurns(2 * walk(problem).k, caps) ?? tiledRefusal(problem, caps);
  },
  // On a CPU a barrier costs hundreds of multiply-adds; for a few rows or columns a tile is mostly padding.
  prefers(problem, caps) {
    const { m, n } = walk(problem);
    return caps.type !== 'cpu' && m >= 8 && n >= 8;
  },
  plan(problem, caps) {
    const [side, rows, cols] = sharedTile(problem, caps);
    const quads = divisible(problem, 4).map(Number);
    return launches(problem, caps, {
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
  problem: MatmulProblem,
  caps: Caps,
): [side: number, rows: number, cols: number, bytes: number] {
  const { m, n, batch } = walk(problem);
  const bytes = (side: number) => 2 * sharedDepth * (side + 4) * 4;
  // Large tiles reuse what they load twice as often, where there are enough of them to fill a big device.
  const many = Math.ceil(m / 128) * Math.ceil(n / 128) * sizeOf(batch) >= 128;
  if (many && caps.type === 'discrete' && caps.maxInvocations >= 256 && bytes(128) <= caps.sharedBytes)
    return [128, 8, 8, bytes(128)];
  const [rows, cols] = caps.maxInvocations >= 256 ? [4, 4] : caps.maxInvocations >= 128 ? [8, 4] : [8, 8];
  return [64, rows, cols, bytes(64)];
}

const nobarrier: GpuVariant<MatmulAttrs> = {
  name: 'nobarrier',
  admits: (problem, caps) =>
    overTurns(walk(problem).k / (isHalf(problem) ? 2 : 1), caps) ?? tiledRefusal(problem, caps),
  prefers: (_, caps) => caps.type === 'cpu',
  plan(problem, caps) {
    const { m, n, k, batch } = walk(problem);
    const flops = 2 * m * n * k * sizeOf(batch);
    // A larger tile loads less and compiles longer: 16 x 16 takes a software driver a second, once.
    const most = flops < 2 ** 21 ? 4 : flops < 2 ** 27 ? 8 : 16;
    const fit = (extent: number) => Math.min(most, Math.max(2, powerOfTwoFrom(extent)));
    const [rows, cols] = [fit(m), fit(n)];
    const size = 8;
    const across = Math.min(m <= rows ? size : 4, powerOfTwoFrom(n / cols));
    const half = isHalf(problem);
    const pairs = divisible(problem, 2).map((even) => Number(half && even));
    return launches(problem, caps, {
      shader: 'matmul_nobarrier',
      size,
      spec: [rows, cols, half ? 2 : 1, ...pairs],
      tile: [(rows * size) / across, cols * across],
      across,
    });
  },
};

const simple: GpuVariant<MatmulAttrs> = {
  name: 'simple',
  admits: (problem, caps) =>
    overTurns(walk(problem).k * perWord(problem.outputs[0]!.dtype), caps) ?? refusal(problem, caps),
  plan: (problem, caps) =>
    launches(problem, caps, { shader: 'matmul_simple', size: 64, spec: [], tile: [1, 1] }),
};

export const matmulVariants: readonly GpuVariant<MatmulAttrs>[] = [shared, nobarrier, simple];
