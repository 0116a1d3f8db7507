/**
 * Attention on Vulkan: which of its kernels (shaders/attention_*.comp) runs a problem, and with what tiles. The same
 * kernels serve separate and packed operands and every score. A gradient is three launches: what it needs of each query,
 * then dq, then dk and dv; none adds into what another writes, so it is the same at every run. Gradients of queries'
 * sides come with dq; for those of keys dkv has no binding left: they go through the scratch that it reads.
 */
import type { Bind, Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatBits, perWord } from '../tensor/dtype.js';
import { scores } from './attention.score.js';
import {
  type AttentionWalk,
  type BackwardWalk,
  type Rows,
  type SomeAttentionAttrs,
  walkBackward,
  walkForward,
} from './attention.walk.js';
import type { GpuVariant, Problem } from './contract.js';
import { MOST_TURNS, overBinding, overTurns, Scratch, widenedBytes } from './launch.js';

type AttentionProblem = Problem<SomeAttentionAttrs>;

/** What a kernel makes: outputs of queries, their gradients, or those of keys and values. */
type Kernel = 'forward' | 'dq' | 'dkv';

/** How a tier runs a kernel: its shader, its workgroup, rows to each of its blocks, blocks to a group. */
interface Tier {
  shader: string;
  size: number;
  rows: number;
  blocks: number;
  /** Specialisation constants from 7 on. */
  spec: readonly number[];
}

type TierOf = (kernel: Kernel, w: AttentionWalk, half: boolean, caps: Caps) => Tier;

const isHalf = (problem: AttentionProblem) => perWord(problem.inputs[0]!.dtype) === 2;

/** Heads of an odd number of halves end within a word: their results go through fp32 scratch. */
const ragged = (problem: AttentionProblem, w: AttentionWalk) => isHalf(problem) && w.D % 2 === 1;

/** Where kernels write an output of the call's dtype. */
const target = (problem: AttentionProblem, w: AttentionWalk, scratch: Scratch, operand: number): Bind => ({
  operand: ragged(problem, w) ? scratch.widened(operand) : operand,
  write: true,
});

/** A launch of a kernel over all of its rows; none where there are none. */
function launch(
  problem: AttentionProblem,
  w: AttentionWalk & Partial<Pick<BackwardWalk, 'dq' | 'dk' | 'dv'>>,
  kernel: Kernel,
  { shader, size, rows, blocks: perGroup, spec }: Tier,
  binds: readonly Bind[],
): Dispatch[] {
  const lines = w.B * (kernel === 'dkv' ? w.Hkv : w.Hq);
  const blocks = Math.ceil((kernel === 'dkv' ? w.Tk : w.Tq) / rows);
  if (lines * blocks === 0) return [];
  const dtype = problem.inputs[0]!.dtype;
  const place = (r: Rows | undefined) => (r ? [r.offset, r.row] : [0, 0]);
  return [
    {
      shader,
      spec: [
        size,
        dtypeCode[dtype],
        ragged(problem, w) ? dtypeCode.float32 : dtypeCode[dtype],
        w.mask ? (w.mask.kind === 'bool' ? 1 : 2) : 0,
        scores.indexOf(w.score),
        Number(kernel === 'forward' && problem.attrs.entropy),
        Number(w.D % 4 === 0),
        Number(w.alibi),
        ...spec,
      ],
      push: [
        blocks,
        lines,
        w.Tq,
        w.Tk,
        w.Hq,
        w.Hq / w.Hkv,
        w.D,
        Number(w.causal),
        Math.min(w.window, w.Tq + w.Tk + 1),
        floatBits(w.scale),
        ...(w.mask?.strides ?? [0, 0, 0, 0]),
        ...[w.q, w.k, w.v, w.dq, w.dk, w.dv].flatMap(place),
        w.k.batch,
        w.sides?.batch ?? 0,
      ],
      groups: Math.ceil((lines * blocks) / perGroup),
      binds,
    },
  ];
}

const read = (operand: number): Bind => ({ operand, write: false });

function planForward(problem: AttentionProblem, caps: Caps, tierOf: TierOf): GpuPlan {
  const w = walkForward(problem);
  const scratch = new Scratch(problem);
  const tier = tierOf('forward', w, isHalf(problem), caps);
  const dispatches = launch(problem, w, 'forward', tier, [
    ...inputBinds(w),
    target(problem, w, scratch, w.o.operand),
    { operand: w.lse, write: true },
    { operand: w.entropy ?? w.lse, write: true },
    read((w.sides ?? w.q).operand),
  ]);
  return planOf(dispatches, scratch, caps);
}

/** q, k, v and the mask; in place of what there is not, something that there is. */
const inputBinds = (w: AttentionWalk): Bind[] =>
  [w.q, w.k, w.v, w.mask ?? w.q].map(({ operand }) => read(operand));

function planOf(dispatches: Dispatch[], scratch: Scratch, caps: Caps): GpuPlan {
  if (dispatches.length === 0) return { dispatches };
  return { dispatches: [...dispatches, ...scratch.narrow(caps)], scratch: scratch.bytes };
}

function planBackward(problem: AttentionProblem, caps: Caps, tierOf: TierOf): GpuPlan {
  const w = walkBackward(problem);
  const scratch = new Scratch(problem);
  const rows = scratch.add(statBytes(w));
  const inputs = [...inputBinds(w), read(w.dy.operand)];
  const half = isHalf(problem);
  const to = ({ operand }: Rows) => target(problem, w, scratch, operand);
  const dispatches = [
    ...deltas(problem, w, rows, caps),
    ...launch(problem, w, 'dq', tierOf('dq', w, half, caps), [
      ...inputs,
      read(rows),
      to(w.dq),
      w.dsides ? { operand: w.dsides.operand, write: true } : read(w.lse),
    ]),
    ...launch(problem, w, 'dkv', tierOf('dkv', w, half, caps), [
      ...inputs,
      { operand: rows, write: w.dsides !== undefined },
      to(w.dk),
      to(w.dv),
    ]),
    ...keySides(w, rows, caps),
  ];
  return planOf(dispatches, scratch, caps);
}

const queriesOf = (w: AttentionWalk) => w.B * w.Hq * w.Tq;
/** Keys that have sides. */
const sidedKeys = (w: AttentionWalk) => (w.sides ? w.B * w.Hkv * w.Tk : 0);

/** What dq and dkv read of each query, and of each key: shaders/lib/attention.glsl. */
const statBytes = (w: AttentionWalk) => queriesOf(w) * (w.sides ? 16 : 8) + sidedKeys(w) * 8;

/** lse and sum(dy o) of each query, and the sides of queries and keys, side by side. */
function deltas(problem: AttentionProblem, w: BackwardWalk, rows: number, caps: Caps): Dispatch[] {
  const queries = queriesOf(w);
  if (queries === 0) return [];
  const keys = sidedKeys(w);
  const { dtype } = problem.inputs[0]!;
  const size = Math.min(64, caps.maxInvocations);
  return [
    {
      shader: 'attention_delta',
      spec: [size, dtypeCode[dtype], w.D, Number(w.D % (4 * perWord(dtype)) === 0), Number(!!w.sides)],
      push: [queries, w.Tq, w.Hq, keys, w.Tk, w.Hkv, w.sides?.batch ?? 0],
      groups: Math.ceil(Math.max(queries, keys) / size),
      binds: [
        read(w.dy.operand),
        read(w.o.operand),
        read(w.lse),
        { operand: rows, write: true },
        read(w.sides?.operand ?? w.lse),
      ],
    },
  ];
}

/** Gradients of the keys' sides, to where they belong. */
function keySides(w: BackwardWalk, rows: number, caps: Caps): Dispatch[] {
  const keys = sidedKeys(w);
  if (!w.dsides || keys === 0) return [];
  const size = Math.min(64, caps.maxInvocations);
  return [
    {
      shader: 'attention_sides',
      spec: [size],
      push: [keys, w.Tk, w.Hkv, w.dsides.keys, w.dsides.batch, queriesOf(w) * 2],
      groups: Math.ceil(keys / size),
      binds: [read(rows), { operand: w.dsides.operand, write: true }],
    },
  ];
}

// ---------------------------------------------------------------- legality

/** What holds for every kernel: operands and scratch that bindings hold, indices of 32 bits. */
function refusal(problem: AttentionProblem, w: AttentionWalk, caps: Caps): string | null {
  const over = overBinding([...problem.inputs, ...problem.outputs], caps);
  if (over) return over;
  const scratch = [statBytes(w), ...(ragged(problem, w) ? problem.outputs.map(widenedBytes) : [])];
  if (Math.max(...scratch) > caps.maxBindingBytes)
    return `its scratch is larger than a binding of ${caps.maxBindingBytes} bytes`;
  return null;
}

/** Columns that one block of `rows` rows may see: keys of queries, or queries of keys. */
function columnsOf(w: AttentionWalk, kernel: Kernel, rows: number): number {
  const all = kernel === 'dkv' ? w.Tq : w.Tk;
  return w.window === 0 ? all : Math.min(all, (w.causal ? 1 : 2) * w.window + rows);
}

/** The variants of a tier. `turns` its loops take; `refuses` what else it cannot do. */
function variantsOf(
  tier: Pick<GpuVariant<SomeAttentionAttrs>, 'name' | 'prefers'>,
  tierOf: TierOf,
  turns: (w: AttentionWalk, kernel: Kernel, tier: Tier) => number,
  refuses: (w: AttentionWalk, half: boolean, caps: Caps) => string | null,
): [forward: GpuVariant<SomeAttentionAttrs>, backward: GpuVariant<SomeAttentionAttrs>] {
  const admits = (problem: AttentionProblem, w: AttentionWalk, kernels: readonly Kernel[], caps: Caps) => {
    const half = isHalf(problem);
    const why = refusal(problem, w, caps) ?? refuses(w, half, caps);
    if (why) return why;
    const most = kernels.map((kernel) => turns(w, kernel, tierOf(kernel, w, half, caps)));
    return overTurns(Math.max(...most), caps);
  };
  return [
    {
      ...tier,
      admits: (problem, caps) => admits(problem, walkForward(problem), ['forward'], caps),
      plan: (problem, caps) => planForward(problem, caps, tierOf),
    },
    {
      ...tier,
      admits: (problem, caps) => admits(problem, walkBackward(problem), ['dq', 'dkv'], caps),
      plan: (problem, caps) => planBackward(problem, caps, tierOf),
    },
  ];
}

// ---------------------------------------------------------------- tiers

/** Columns of a tile in shared memory: shaders/lib/attention_tiles.glsl. */
const COLUMNS = 64;

/**
 * Tiles of 64 rows, 16 threads abreast; at most 24 KiB of shared memory for heads of up to 128. A thread with 8 rows
 * reads 3 quads of shared memory for 32 multiply-adds where one with 4 rows reads 2 for 16, but needs the registers of
 * a discrete GPU: some 170 for gradients of heads of 64.
 */
const sharedTier: TierOf = (kernel, { D }, half, caps) => {
  const rows = 64;
  const wide = caps.type === 'discrete' && D <= 64;
  const size = caps.maxInvocations >= 256 && !wide ? 256 : 128;
  const depth = D <= 16 ? 16 : 32;
  const perThread = half ? 2 * Math.ceil(D / 32) : Math.ceil(D / 16);
  const run = perThread % 4 === 0 ? 4 : perThread % 2 === 0 ? 2 : 1;
  const slice = perThread <= 4 ? 32 : perThread <= 8 ? 16 : 8;
  const left = Math.max((rows + COLUMNS) * depth, rows * COLUMNS);
  const right = Math.max(slice * 16 * perThread, 16 * rows);
  return {
    shader: { forward: 'attention_shared', dq: 'attention_dq_shared', dkv: 'attention_dkv_shared' }[kernel],
    size,
    rows,
    blocks: 1,
    spec: [rows, depth, slice, (rows * 16) / size, perThread, run, left, right],
  };
};

const MOST_SHARED_D = 128;

const [shared, sharedBackward] = variantsOf(
  { name: 'shared', prefers: (_, caps) => caps.type !== 'cpu' },
  sharedTier,
  (w, kernel, { size, rows, spec }) => {
    const [, depth, slice, , perThread] = spec as [number, number, number, number, number];
    const loads =
      Math.ceil((depth * (rows + COLUMNS)) / 4 / size) + Math.ceil((slice * perThread * 4) / size);
    const products = (w.P + 1) * Math.ceil(w.D / depth) * (loads + depth / 4 + 1);
    const sums = (w.P + 1) * Math.ceil(COLUMNS / slice) * (loads + slice / 4 + 1);
    const groups = kernel === 'dkv' ? w.Hq / w.Hkv : 1;
    return groups * Math.ceil(columnsOf(w, kernel, rows) / COLUMNS + 1) * (products + sums + 1);
  },
  (w, half, caps) => {
    if (w.D > MOST_SHARED_D) return `heads of ${w.D} elements are more than its tiles hold`;
    if (caps.maxInvocations < 128) return `groups of ${caps.maxInvocations} invocations are too small`;
    const [left, right] = sharedTier('forward', w, half, caps).spec.slice(-2) as [number, number];
    const bytes = (left + right) * 4;
    return bytes > caps.sharedBytes
      ? `its tiles take ${bytes} of ${caps.sharedBytes} bytes of shared memory`
      : null;
  },
);

/** Tiles in the registers of one invocation: larger ones read less, and drivers take seconds over them. */
const nobarrierTier: TierOf = (kernel, w, _, caps) => {
  const size = caps.type === 'cpu' ? 8 : Math.min(64, caps.maxInvocations);
  const rows = 4;
  // More columns take fewer turns; scores with sides have more to compile, and are 20 % slower by fewer columns.
  const columns = [w.sides ? 4 : 8, 8].find((n) => turnsOfRows(w, kernel, rows, n) <= MOST_TURNS) ?? 16;
  const quads = 2 ** Math.max(2, Math.ceil(Math.log2(w.D / 4)));
  const shaders = {
    forward: 'attention_nobarrier',
    dq: 'attention_dq_nobarrier',
    dkv: 'attention_dkv_nobarrier',
  };
  return { shader: shaders[kernel], size, rows, blocks: size, spec: [rows, columns, quads] };
};

function turnsOfRows(w: AttentionWalk, kernel: Kernel, rows: number, columns: number): number {
  const sweeps = { forward: w.P + 1, dq: 2 * w.P + 1, dkv: 2 * w.P + 2 }[kernel] * Math.ceil(w.D / 4) + 1;
  const groups = kernel === 'dkv' ? w.Hq / w.Hkv : 1;
  return groups * (Math.ceil(columnsOf(w, kernel, rows) / columns) + 1) * sweeps + 2 * rows * w.P * w.D;
}

const [nobarrier, nobarrierBackward] = variantsOf(
  { name: 'nobarrier', prefers: (_, caps) => caps.type === 'cpu' },
  nobarrierTier,
  (w, kernel, { rows, spec }) => turnsOfRows(w, kernel, rows, spec[1]!),
  () => null,
);

/** Of attention, packed_attention and scored_attention. */
export const attentionVariants: readonly GpuVariant<SomeAttentionAttrs>[] = [shared, nobarrier];

/** Of their gradients. */
export const attentionBackwardVariants: readonly GpuVariant<SomeAttentionAttrs>[] = [
  sharedBackward,
  nobarrierBackward,
];
