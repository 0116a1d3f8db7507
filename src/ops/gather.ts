/** Elements picked along an axis by a tensor of indices. */
import { ShapeError } from '../runtime/errors.js';
import { dtypeBytes, dtypeCode, dtypes } from '../tensor/dtype.js';
import { collapse, normalizeAxis, show, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { FAULT, loneGroup, overBinding, padLeft, wordsOf } from './launch.js';

export interface GatherAttrs {
  axis: number;
}

/** The index's axes, merged, with x's strides along them: 0 along the gathered axis, which stands apart. */
function walkOf({ inputs, attrs }: Problem<GatherAttrs>) {
  const [x, index] = inputs;
  const axis = normalizeAxis(attrs.axis, x!.rank, 'gather');
  const strides = stridesOf(x!.shape);
  const merged = collapse(index!.shape, [
    strides.map((s, i) => (i === axis ? 0 : s)),
    stridesOf(index!.shape),
  ]);
  return { size: x!.shape[axis]!, stride: strides[axis]!, shape: merged.shape, strides: merged.strides[0]! };
}

/**
 * out[i, j, …] = x[index[i, j, …], j, …] for axis 0, and likewise for others. The index is no larger than x on the
 * other axes. An index outside 0 … size - 1 raises IndexError when the op runs.
 */
export const gather = defineOp<[x: Tensor, index: Tensor]>()<GatherAttrs>({
  name: 'gather',
  doc: 'x picked along an axis by index',
  inputs: ['x', { name: 'index', dtype: 'int32', domain: [0, 0] }],
  attrs: { axis: 0 },
  dtypes,
  infer([x, index], attrs) {
    const axis = normalizeAxis(attrs.axis, x!.rank, 'gather');
    if (index!.rank !== x!.rank || index!.shape.some((d, i) => i !== axis && d > x!.shape[i]!))
      throw new ShapeError(`index ${show(index!.shape)} does not fit in x ${show(x!.shape)}`, {
        op: 'gather',
        hint: `the ranks are equal, and only axis ${axis} of index may be larger`,
      });
    return [spec(index!.shape, x!.dtype)];
  },
  reference([x, index], { inputs, attrs }) {
    const axis = normalizeAxis(attrs.axis, inputs[0]!.rank, 'gather');
    const from = stridesOf(inputs[0]!.shape);
    const { shape } = inputs[1]!;
    const to = stridesOf(shape);
    return [
      Float64Array.from(index!, (k, e) => {
        let at = 0;
        shape.forEach((d, i) => {
          at += (i === axis ? k : Math.floor(e / to[i]!) % d) * from[i]!;
        });
        return x![at]!;
      }),
    ];
  },
  cpu(problem) {
    const { size, stride, shape, strides } = walkOf(problem);
    return {
      kernel: 'gather',
      attrs: [
        dtypeBytes[problem.inputs[0]!.dtype],
        size,
        stride,
        shape.length,
        ...shape,
        strides.length,
        ...strides,
      ],
    };
  },
  gpu: [
    {
      name: 'simple',
      admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
      plan(problem, caps) {
        const y = problem.outputs[0]!;
        const words = wordsOf(y);
        if (words === 0) return { dispatches: [] };
        const { size, stride, shape, strides } = walkOf(problem);
        const group = loneGroup(caps);
        return {
          dispatches: [
            {
              shader: 'gather',
              spec: [group, dtypeCode[y.dtype], Math.max(1, shape.length)],
              push: [
                words,
                y.size,
                size,
                stride,
                ...padLeft(shape, 8, 1).reverse(),
                ...padLeft(strides, 8, 0).reverse(),
              ],
              groups: Math.ceil(words / group),
              binds: [{ operand: 0 }, { operand: 1 }, { operand: 2 }, { operand: FAULT, write: true }],
            },
          ],
        };
      },
    },
  ],
  cost: ({ inputs, outputs }) => ({
    flops: 0,
    bytes: inputs[1]!.bytes + 2 * outputs[0]!.bytes,
    family: 'move',
  }),
  backward({ grads: [g], inputs: [, index], problem, attrs, F }) {
    return [F.gatherBackward!(g, index, { axis: attrs.axis, shape: problem.inputs[0]!.shape }), null];
  },
  saves: { inputs: [1] },
  samples: [
    {
      shapes: [
        [33, 5],
        [20, 5],
      ],
      domains: [
        [-3, 3],
        [0, 32],
      ],
    },
    {
      shapes: [
        [33, 65],
        [33, 7],
      ],
      attrs: { axis: 1 },
      domains: [
        [-3, 3],
        [0, 64],
      ],
    },
    { shapes: [[1], [1]] },
    { shapes: [[7], [0]] },
    {
      shapes: [[7], [19]],
      domains: [
        [-3, 3],
        [0, 6],
      ],
    },
    {
      shapes: [
        [9, 6, 5],
        [3, 6, 4],
      ],
      attrs: { axis: 0 },
      domains: [
        [-3, 3],
        [0, 8],
      ],
    },
    {
      shapes: [
        [9, 6, 5],
        [9, 11, 5],
      ],
      attrs: { axis: -2 },
      domains: [
        [-3, 3],
        [0, 5],
      ],
    },
    {
      shapes: [
        [64, 128],
        [64, 32],
      ],
      attrs: { axis: 1 },
      domains: [
        [-3, 3],
        [0, 127],
      ],
    },
    {
      shapes: [
        [10, 3],
        [70001, 3],
      ],
      domains: [
        [-3, 3],
        [0, 9],
      ],
      heavy: true,
    },
  ],
  invalid: [
    { shapes: [[2, 3], [2]], code: 'ATTN_SHAPE' },
    {
      shapes: [
        [2, 3],
        [2, 4],
      ],
      attrs: { axis: 0 },
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      attrs: { axis: 2 },
      code: 'ATTN_ARGUMENT',
    },
    { shapes: [[], []], code: 'ATTN_ARGUMENT' },
  ],
});
