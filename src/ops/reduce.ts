/**
 * sum, mean, max and argmax over any axes.
 *
 * Neighbouring kept axes are merged, and neighbouring reduced ones, so what remains alternates: at rank 8 at most
 * four groups of each kind. Where the innermost group is reduced, rows of neighbours are reduced (`rows`);
 * otherwise outputs lie side by side and are reduced together.
 */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type DType, dtypeCode, floatBits, floatDTypes, perWord } from '../tensor/dtype.js';
import { normalizeAxes, type Shape, type Spec, show, sizeOf, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type BackwardContext,
  defineOp,
  type GpuVariant,
  type OpDefinition,
  type Problem,
  type Sample,
  type Value,
} from './define.js';
import {
  fixedSubgroups,
  loneGroup,
  MOST_TURNS,
  overBinding,
  padLeft,
  sharedGroup,
  windowElements,
  windowOf,
  wordsOf,
} from './launch.js';

export interface ReduceAttrs {
  /** Axes to reduce; null: all. argmax takes one, or null for the flattened tensor. */
  axis: number | readonly number[] | null;
  /** Reduced axes stay, with size 1. */
  keepDims: boolean;
}

// Numbers of shaders/lib/reduce.glsl and native/cpu/reduce.h.
const opCode = { sum: 0, mean: 1, max: 2, argmax: 3 } as const;
type Kind = keyof typeof opCode;

// ---------------------------------------------------------------- geometry

interface Geometry {
  /** Merged axes, kept and reduced in turn. */
  groups: { size: number; stride: number; reduced: boolean }[];
  /** Elements of the output, and of the input for each. */
  outputs: number;
  count: number;
}

function geometryOf(problem: Problem<ReduceAttrs>): Geometry {
  const { shape } = problem.inputs[0]!;
  const axes = new Set(normalizeAxes(problem.attrs.axis, shape.length, 'reduce'));
  const strides = stridesOf(shape);
  const groups: Geometry['groups'] = [];
  shape.forEach((size, i) => {
    if (size === 1) return;
    const last = groups[groups.length - 1];
    const reduced = axes.has(i);
    if (last?.reduced === reduced) Object.assign(last, { size: last.size * size, stride: strides[i]! });
    else groups.push({ size, stride: strides[i]!, reduced });
  });
  const product = (reduced: boolean) =>
    sizeOf(groups.filter((g) => g.reduced === reduced).map((g) => g.size));
  return { groups, outputs: product(false), count: product(true) };
}

/** Length of the rows when the reduction is over rows of neighbours, each a whole output; else 0. */
const rowLength = ({ groups }: Geometry): number =>
  groups.length <= 2 && groups[groups.length - 1]?.reduced ? groups[groups.length - 1]!.size : 0;

function infer(kind: Kind, [x]: readonly Spec[], { axis, keepDims }: ReduceAttrs): Spec[] {
  const axes = normalizeAxes(axis, x!.rank, kind);
  if (kind === 'argmax' && Array.isArray(axis) && axis.length !== 1)
    throw new ArgumentError(`takes one axis but got [${axis}]`, {
      op: kind,
      hint: 'axis: null finds the place in the flattened tensor',
    });
  const count = sizeOf(axes.map((a) => x!.shape[a]!));
  const shape: Shape = keepDims
    ? x!.shape.map((d, i) => (axes.includes(i) ? 1 : d))
    : x!.shape.filter((_, i) => !axes.includes(i));
  if (count === 0 && (kind === 'max' || kind === 'argmax'))
    throw new ShapeError(`no element to choose from along axes [${axes}] of ${show(x!.shape, x!.dtype)}`, {
      op: kind,
      hint: 'every reduced axis needs at least one element',
    });
  if (kind === 'argmax' && count > 2 ** 31 - 1)
    throw new ShapeError(`${count} places do not fit in int32`, {
      op: kind,
      hint: 'reshape, and choose within rows first',
    });
  return [spec(shape, kind === 'argmax' ? 'int32' : x!.dtype)];
}

function reference(kind: Kind, x: Float64Array, problem: Problem<ReduceAttrs>): Float64Array {
  const { shape, dtype } = problem.inputs[0]!;
  const axes = normalizeAxes(problem.attrs.axis, shape.length, kind);
  const strides = stridesOf(shape);
  const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
  const keptStrides = stridesOf(kept);
  const out = new Float64Array(problem.outputs[0]!.size);
  const best = new Float64Array(out.length);
  const seen = new Float64Array(out.length);
  for (let e = 0; e < x.length; e++) {
    let o = 0;
    for (let i = 0; i < shape.length; i++)
      if (!axes.includes(i)) o += (Math.floor(e / strides[i]!) % shape[i]!) * keptStrides[i]!;
    const v = x[e]!;
    if (kind === 'sum' || kind === 'mean') out[o] = dtype === 'int32' ? (out[o]! + v) | 0 : out[o]! + v;
    else if (seen[o] === 0 || v > best[o]! || (Number.isNaN(v) && !Number.isNaN(best[o]!))) {
      best[o] = v;
      out[o] = kind === 'max' ? v : seen[o]!; // elements of one output come in the order of its indices
    }
    seen[o]!++;
  }
  if (kind === 'mean') {
    const { count } = geometryOf(problem);
    for (let o = 0; o < out.length; o++) out[o]! /= count;
  }
  return out;
}

// ---------------------------------------------------------------- GPU

const WHOLE = 0; // input to output
const TO_PARTS = 1; // input to partial results in scratch
const FROM_PARTS = 2; // partial results to output

/** Words of a partial result: argmax carries the value and its place. */
const partWords = (kind: Kind): number => (kind === 'argmax' ? 2 : 1);

const header = (kind: Kind, x: Spec, stage: number, group: number): number[] => [
  group,
  opCode[kind],
  dtypeCode[x.dtype],
  stage,
];

/** shaders/reduce.comp: one invocation to a word of output (to a partial result, when the reduction is cut). */
function simpleDispatch(
  kind: Kind,
  problem: Problem<ReduceAttrs>,
  caps: Caps,
  stage: number,
  walk: { kept: Geometry['groups']; reduced: Geometry['groups'] },
  parts: { segments: number; length: number },
): Dispatch {
  const x = problem.inputs[0]!;
  const y = problem.outputs[0]!;
  const { count } = geometryOf(problem);
  const group = loneGroup(caps);
  const invocations = stage === TO_PARTS ? y.size * parts.segments : wordsOf(y);
  const scratch = 2;
  return {
    shader: 'reduce',
    spec: header(kind, x, stage, group),
    push: [
      invocations,
      y.size,
      sizeOf(walk.reduced.map((g) => g.size)),
      parts.length,
      floatBits(count),
      ...[walk.kept, walk.reduced].flatMap((side) => [
        ...padLeft(
          side.map((g) => g.size),
          4,
          1,
        ),
        ...padLeft(
          side.map((g) => g.stride),
          4,
          0,
        ),
      ]),
    ],
    groups: Math.ceil(invocations / group),
    binds: [
      { operand: stage === FROM_PARTS ? scratch : 0, write: false },
      { operand: stage === TO_PARTS ? scratch : 1, write: true },
    ],
  };
}

/** The second launch of a cut reduction: partial results lie [outputs, segments]. */
const joinDispatch = (kind: Kind, problem: Problem<ReduceAttrs>, caps: Caps, segments: number): Dispatch =>
  simpleDispatch(
    kind,
    problem,
    caps,
    FROM_PARTS,
    {
      kept: [{ size: problem.outputs[0]!.size, stride: segments, reduced: false }],
      reduced: [{ size: segments, stride: 1, reduced: true }],
    },
    { segments, length: segments },
  );

const simple = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'simple',
  admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
  plan(problem, caps): GpuPlan {
    const { groups, outputs, count } = geometryOf(problem);
    if (outputs === 0) return { dispatches: [] };
    const walk = { kept: groups.filter((g) => !g.reduced), reduced: groups.filter((g) => g.reduced) };
    // Cut long reductions to few outputs until there is work for the whole device.
    const busy = caps.type === 'cpu' ? 512 : 16384;
    let wanted = Math.min(Math.ceil(busy / outputs), Math.floor(count / 512), 1024);
    if (count * perWord(problem.outputs[0]!.dtype) > MOST_TURNS)
      wanted = Math.max(wanted, Math.ceil(count / MOST_TURNS), 2);
    if (wanted < 2)
      return {
        dispatches: [simpleDispatch(kind, problem, caps, WHOLE, walk, { segments: 1, length: count })],
      };
    const length = Math.ceil(count / wanted);
    const segments = Math.ceil(count / length);
    return {
      scratch: [outputs * segments * partWords(kind) * 4],
      dispatches: [
        simpleDispatch(kind, problem, caps, TO_PARTS, walk, { segments, length }),
        joinDispatch(kind, problem, caps, segments),
      ],
    };
  },
});

/** shaders/reduce_*.comp: a team (a subgroup, or a workgroup with shared memory) to each row. */
function rowsPlan(
  kind: Kind,
  problem: Problem<ReduceAttrs>,
  caps: Caps,
  shader: string,
  team: number,
): GpuPlan {
  const x = problem.inputs[0]!;
  const y = problem.outputs[0]!;
  const geometry = geometryOf(problem);
  const { outputs, count } = geometry;
  const n = rowLength(geometry);
  const limit = windowElements(x, caps);
  const perOutput = perWord(y.dtype);
  const busy = caps.type === 'cpu' ? 32 : 512;
  const unit = 4 * perWord(x.dtype); // elements of a vector load
  let segments = Math.max(1, Math.min(Math.ceil(busy / outputs), Math.floor(n / 4096), 256));
  if (n * perOutput > limit) segments = Math.max(segments, Math.ceil((4 * n) / limit));
  if (n * perOutput > MOST_TURNS * team) segments = Math.max(segments, Math.ceil(n / (MOST_TURNS * team)), 2);
  const length = segments === 1 ? n : Math.ceil(n / segments / unit) * unit;
  segments = Math.ceil(n / length);
  const cut = segments > 1;

  // Units of work: words of output, or segments. Each launch binds the window of the input that its units read.
  const units = cut ? outputs * segments : wordsOf(y);
  const start = (u: number) =>
    cut ? Math.floor(u / segments) * n + (u % segments) * length : Math.min(u * perOutput, outputs) * n;
  const most = Math.max(1, Math.floor(limit / (cut ? length : perOutput * n)));
  const dispatches: Dispatch[] = [];
  for (let u = 0; u < units; u += most) {
    const launched = Math.min(most, units - u);
    const { bind, skip } = windowOf(0, x, start(u), start(u + launched));
    const vectors = [n, length, skip].every((k) => k % unit === 0);
    dispatches.push({
      shader,
      spec: [...header(kind, x, cut ? TO_PARTS : WHOLE, team), vectors ? 1 : 0],
      push: [u, outputs, n, segments, length, (start(u) - skip) >>> 0, floatBits(count)],
      groups: launched,
      binds: [bind, { operand: cut ? 2 : 1, write: true }],
    });
  }
  if (!cut) return { dispatches };
  dispatches.push(joinDispatch(kind, problem, caps, segments));
  return { scratch: [outputs * segments * partWords(kind) * 4], dispatches };
}

function admitsRows(problem: Problem<ReduceAttrs>, caps: Caps): string | null {
  const geometry = geometryOf(problem);
  if (geometry.outputs * geometry.count === 0) return 'there is nothing to reduce';
  if (rowLength(geometry) === 0) return 'the reduction is not over rows of neighbours';
  return overBinding(problem.outputs, caps);
}

const subgroup = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'subgroup',
  admits: (problem, caps) => fixedSubgroups(caps) ?? admitsRows(problem, caps),
  prefers(problem, caps) {
    const n = rowLength(geometryOf(problem));
    return n >= 4 * caps.subgroupSize && (caps.type === 'cpu' || n <= 1024);
  },
  plan: (problem, caps) => rowsPlan(kind, problem, caps, 'reduce_subgroup', caps.subgroupSize),
});

const shared = (kind: Kind): GpuVariant<ReduceAttrs> => ({
  name: 'shared',
  admits: admitsRows,
  prefers: (problem, caps) => caps.type !== 'cpu' && rowLength(geometryOf(problem)) >= 128,
  plan: (problem, caps) => rowsPlan(kind, problem, caps, 'reduce_shared', sharedGroup(caps)),
});

// ---------------------------------------------------------------- the ops

const samples: Sample<ReduceAttrs>[] = [
  { shapes: [[33, 65]], attrs: { axis: -1 } },
  { shapes: [[33, 65]], attrs: { axis: 0 } },
  { shapes: [[]] },
  { shapes: [[1]] },
  { shapes: [[7]], attrs: { axis: 0, keepDims: true } },
  { shapes: [[5, 1, 3]], attrs: { axis: 1 } },
  { shapes: [[3, 4, 5]], attrs: { axis: [] } },
  { shapes: [[4, 5, 6]], attrs: { axis: [0, 2] } },
  { shapes: [[4, 5, 6]], attrs: { axis: [1, 2], keepDims: true } },
  { shapes: [[2, 3, 2, 3, 2, 3, 2, 3]], attrs: { axis: [0, 2, 4, 6] } },
  { shapes: [[2, 3, 2, 3, 2, 3, 2, 3]], attrs: { axis: [1, 3, 5, 7] } },
  { shapes: [[0, 3]], attrs: { axis: 1 } },
  { shapes: [[2, 17, 130]], attrs: { axis: 1 } },
  { shapes: [[64, 256]], attrs: { axis: 1 } },
  { shapes: [[3, 1025]], attrs: { axis: 1 } },
  { shapes: [[20001]] },
  { shapes: [[9001, 3]], attrs: { axis: 0 } },
  { shapes: [[70000, 3]], attrs: { axis: 1 }, heavy: true },
  { shapes: [[3, 70000]], attrs: { axis: 1 }, heavy: true },
  { shapes: [[70000, 3]], attrs: { axis: 0 }, heavy: true },
  { shapes: [[1100, 32768]], attrs: { axis: 1 }, dtypes: ['float32'], heavy: true },
];
const empty: Sample<ReduceAttrs>[] = [{ shapes: [[3, 0]], attrs: { axis: 1 } }, { shapes: [[0]] }];
/** argmax has one axis or none. */
const oneAxis = samples.filter((s) => !Array.isArray(s.attrs?.axis));

const badAxes = [
  { shapes: [[2, 3]], attrs: { axis: 2 }, code: 'ATTN_ARGUMENT' },
  { shapes: [[2, 3]], attrs: { axis: [0, -2] }, code: 'ATTN_ARGUMENT' },
  { shapes: [[2, 3]], attrs: { axis: 0.5 }, code: 'ATTN_ARGUMENT' },
];
const noneToChoose = { shapes: [[2, 0]], attrs: { axis: 1 }, code: 'ATTN_SHAPE' };

/** Every element of the input has its output's gradient. */
function spread({ grads: [g], problem, F }: BackwardContext<ReduceAttrs>): Value {
  const { shape, dtype } = problem.inputs[0]!;
  const axes = normalizeAxes(problem.attrs.axis, shape.length, 'reduce');
  const kept = g!.reshape(shape.map((d, i) => (axes.includes(i) ? 1 : d)));
  return F.add!(kept, F.fill!({ shape, value: 0, dtype }));
}

const reduction = (
  kind: Kind,
  doc: string,
  dtypes: readonly DType[],
  more: Partial<OpDefinition<ReduceAttrs>>,
) =>
  defineOp<[x: Tensor]>()<ReduceAttrs>({
    name: kind,
    doc,
    inputs: ['x'],
    attrs: { axis: null, keepDims: false },
    dtypes,
    infer: (inputs, attrs) => infer(kind, inputs, attrs),
    reference: ([x], problem) => [reference(kind, x!, problem)],
    cpu(problem) {
      const { groups } = geometryOf(problem);
      return {
        kernel: 'reduce',
        attrs: [
          opCode[kind],
          dtypeCode[problem.inputs[0]!.dtype],
          groups[0]?.reduced ? 1 : 0,
          groups.length,
          ...groups.map((g) => g.size),
        ],
      };
    },
    gpu: [subgroup(kind), shared(kind), simple(kind)],
    cost: ({ inputs, outputs }) => ({
      flops: inputs[0]!.size,
      bytes: inputs[0]!.bytes + outputs[0]!.bytes,
      family: 'reduce',
    }),
    samples: [...samples, ...empty],
    invalid: badAxes,
    ...more,
  });

/** Sum over axes; int32 wraps, the sum of nothing is 0. Accumulated in float32 or better. */
export const sum = reduction('sum', 'sum of x over the axes', [...floatDTypes, 'int32'], {
  backward: (context) => [spread(context)],
  saves: {},
  // Elements cancel while their rounding errors add up like a random walk.
  tolerance: (problem) => Math.max(1e-5, 2e-6 * Math.sqrt(geometryOf(problem).count)),
});

/** Mean over axes; the mean of nothing is NaN. */
export const mean = reduction('mean', 'mean of x over the axes', floatDTypes, {
  backward: (context) => [
    context.F.mul!(spread(context), context.grads[0]!.size / context.problem.inputs[0]!.size),
  ],
  saves: {},
});

/** Greatest element over axes. NaN counts as greater than everything. */
export const max = reduction(
  'max',
  'greatest element of x over the axes, NaN if there is one',
  [...floatDTypes, 'int32'],
  {
    samples,
    invalid: [...badAxes, noneToChoose],
  },
);

/** Place (int32) of the greatest element along one axis or in the flattened tensor; the lowest of equals, the first NaN. */
export const argmax = reduction(
  'argmax',
  'index of the greatest element, the lowest of equals',
  [...floatDTypes, 'int32'],
  {
    samples: oneAxis,
    invalid: [...badAxes, noneToChoose, { shapes: [[2, 3]], attrs: { axis: [0, 1] }, code: 'ATTN_ARGUMENT' }],
  },
);
