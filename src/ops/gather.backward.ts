/** The gradient of gather: elements added where an index picked them from. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import { checkShape, normalizeAxis, type Shape, type Spec, show, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem, type Sample } from './define.js';
import { loneGroup, overBinding, overTurns, padRight, wordsOf } from './launch.js';

export interface GatherBackwardAttrs {
  axis: number;
  /** Of the tensor that was gathered from. */
  shape: Shape;
}

/**
 * Lines of the index along the axis and of the result, by the other axes; what an axis of the index leaves out has no
 * gradient.
 */
function walkOf({ inputs: [, index], outputs: [dx], attrs }: Problem<GatherBackwardAttrs>) {
  const axis = normalizeAxis(attrs.axis, dx!.rank, 'gather_backward');
  const to = stridesOf(dx!.shape);
  const from = stridesOf(index!.shape);
  const others = dx!.shape.map((_, i) => i).filter((i) => i !== axis);
  return { axis, to, from, others, size: dx!.shape[axis]!, length: index!.shape[axis]! };
}

/** Index positions that the owners of all elements look through. */
const LOOKS = { cpu: 2 ** 26, other: 2 ** 34 };

/** An owner to each word of the result looks through its lines of the index. */
const scan: GpuVariant<GatherBackwardAttrs> = {
  name: 'scan',
  admits(problem, caps) {
    const [dy] = problem.inputs as [Spec, Spec];
    const dx = problem.outputs[0]!;
    const { length } = walkOf(problem);
    if (dx.size * length > LOOKS[caps.type === 'cpu' ? 'cpu' : 'other'])
      return `${dx.size} elements would look through ${length} indices each`;
    return overBinding([...problem.inputs, dx], caps) ?? overTurns(length * perWord(dy.dtype), caps);
  },
  plan(problem, caps) {
    const dx = problem.outputs[0]!;
    const words = wordsOf(dx);
    if (words === 0) return { dispatches: [] };
    const index = problem.inputs[1]!;
    const { axis, from, length } = walkOf(problem);
    const group = loneGroup(caps);
    const inward = (list: readonly number[], fill: number) => padRight([...list].reverse(), 8, fill);
    return {
      dispatches: [
        {
          shader: 'gather_backward',
          spec: [group, dtypeCode[dx.dtype], dx.rank, dx.rank - 1 - axis],
          push: [
            words,
            dx.size,
            length,
            from[axis]!,
            ...inward(dx.shape, 1),
            ...inward(index.shape, 1),
            ...inward(from, 0),
          ],
          groups: Math.ceil(words / group),
          binds: [{ operand: 0 }, { operand: 1 }, { operand: 2 }],
        },
      ],
    };
  },
};

/** dy's and index's shape, and attributes. */
type Case = [picked: Shape, axis: number, shape: Shape, heavy?: boolean];
const cases: Case[] = [
  [[20, 5], 0, [33, 5]],
  [[33, 7], 1, [33, 65]],
  [[1], 0, [1]],
  [[0], 0, [7]],
  [[3, 0], 1, [3, 4]],
  [[19], 0, [7]],
  [[3, 6, 4], 0, [9, 6, 5]],
  [[9, 11, 5], -2, [9, 6, 5]],
  [[130, 2], 0, [3, 2]],
  [[64, 1], 1, [64, 128]],
  [[2, 2, 2, 2, 2, 2, 2, 2], 3, [2, 3, 2, 3, 2, 3, 2, 3]],
  [[70001, 3], 0, [10, 3], true],
];

/**
 * out[index[i, j, …], j, …] += dy[i, j, …] for axis 0, and likewise for others: of `shape`, in dy's dtype, summed in
 * float32. Indices that point outside add to nothing: `gather` has raised them.
 */
export const gatherBackward = defineOp<[dy: Tensor, index: Tensor]>()<GatherBackwardAttrs>({
  name: 'gather_backward',
  doc: 'dy added along an axis where index points',
  internal: true,
  inputs: ['dy', { name: 'index', dtype: 'int32', domain: [0, 0] }],
  attrs: { axis: 0, shape: [1] },
  dtypes: floatDTypes,
  infer([dy, index], attrs) {
    const op = 'gather_backward';
    if (attrs.shape === null) throw new ArgumentError('shape is null', { op, hint: 'it is that of x' });
    const shape = checkShape(attrs.shape, op);
    const axis = normalizeAxis(attrs.axis, shape.length, op);
    const given = `dy ${show(dy!.shape)} and index ${show(index!.shape)}`;
    if (dy!.shape.join() !== index!.shape.join() || dy!.rank !== index!.rank)
      throw new ShapeError(`${given} differ`, { op, hint: 'they have one shape' });
    if (shape.length !== index!.rank || index!.shape.some((d, i) => i !== axis && d > shape[i]!))
      throw new ShapeError(`${given} do not fit in ${show(shape)}`, {
        op,
        hint: `the ranks are equal, and only axis ${axis} of index may be larger`,
      });
    return [spec(shape, dy!.dtype)];
  },
  reference([dy, index], problem) {
    const { axis, to, from, size } = walkOf(problem);
    const { shape } = problem.inputs[1]!;
    const dx = new Float64Array(problem.outputs[0]!.size);
    index!.forEach((k, e) => {
      if (k < 0 || k >= size) return;
      let at = 0;
      shape.forEach((d, i) => {
        at += (i === axis ? k : Math.floor(e / from[i]!) % d) * to[i]!;
      });
      dx[at]! += dy![e]!;
    });
    return [dx];
  },
  cpu(problem) {
    const { axis, to, from, others, size, length } = walkOf(problem);
    const list = (values: readonly number[]) => [others.length, ...others.map((i) => values[i]!)];
    return {
      kernel: 'gather_backward',
      attrs: [
        dtypeCode[problem.inputs[0]!.dtype],
        problem.outputs[0]!.size,
        size,
        to[axis]!,
        length,
        from[axis]!,
        ...list(problem.inputs[1]!.shape),
        ...list(to),
        ...list(from),
      ],
    };
  },
  gpu: [scan],
  cost: ({ inputs, outputs }) => ({
    flops: inputs[0]!.size,
    bytes: inputs[0]!.bytes + inputs[1]!.bytes + outputs[0]!.bytes,
    family: 'reduce',
  }),
  // Elements cancel while their rounding errors add up like a random walk, as in a sum.
  tolerance: (problem) => Math.max(1e-5, 2e-6 * Math.sqrt(walkOf(problem).length)),
  samples: cases.map(
    ([picked, axis, shape, heavy]): Sample<GatherBackwardAttrs> => ({
      shapes: [picked, picked],
      attrs: { axis, shape },
      domains: [
        [-3, 3],
        [heavy ? 0 : -1, shape.at(axis)! - (heavy ? 1 : 0)],
      ],
      ...(heavy && { heavy }),
    }),
  ),
  invalid: [
    {
      shapes: [
        [2, 3],
        [3, 2],
      ],
      attrs: { shape: [4, 4] },
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      attrs: { shape: [2, 2] },
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      attrs: { shape: [6] },
      code: 'ATTN_SHAPE',
    },
    { shapes: [[2], [2]], attrs: { axis: 1, shape: [2] }, code: 'ATTN_ARGUMENT' },
  ],
});
