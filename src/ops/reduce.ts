/** sum, mean, max and argmax over any axes. The CPU side is native/cpu/reduce.cc. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type DType, dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { normalizeAxes, type Shape, type Spec, show, sizeOf, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type BackwardContext,
  defineOp,
  type OpDefinition,
  type Problem,
  type Sample,
  type Value,
} from './define.js';
import { reduceVariants } from './reduce.gpu.js';
import { geometryOf, type Kind, opCode, type ReduceAttrs } from './reduce.walk.js';

export type { ReduceAttrs };

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

/** The first of the greatest elements has its output's gradient, the others none. */
function toGreatest({ grads: [g], inputs: [x], problem, F }: BackwardContext<ReduceAttrs>): Value {
  const { shape } = problem.inputs[0]!;
  const reduced = normalizeAxes(problem.attrs.axis, shape.length, 'max');
  if (reduced.length === 0) return g!.reshape(shape);
  // As rows [outputs, candidates]; argmax takes one axis.
  const order = [...shape.keys()].filter((i) => !reduced.includes(i)).concat(reduced);
  const moved = order.some((axis, i) => axis !== i);
  const sizes = order.map((i) => shape[i]!);
  const rows = [sizeOf(sizes.slice(0, sizes.length - reduced.length)), sizeOf(reduced.map((i) => shape[i]!))];
  const inRows = (moved ? F.permute!(x, { axes: order }) : x!).reshape(rows);
  const first = F.argmax!(inRows, { axis: 1, keepDims: true });
  const dx = F.gatherBackward!(g!.reshape([rows[0]!, 1]), first, { axis: 1, shape: rows }).reshape(sizes);
  return moved ? F.permute!(dx, { axes: order.map((_, i) => order.indexOf(i)) }) : dx;
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
    gpu: reduceVariants(kind),
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

/** Greatest element over axes. NaN counts as greater than everything. The gradient flows into the first of equals. */
export const max = reduction(
  'max',
  'greatest element of x over the axes, NaN if there is one',
  [...floatDTypes, 'int32'],
  {
    backward: (context) => [toGreatest(context)],
    saves: { inputs: [0] },
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
