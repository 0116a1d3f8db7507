/** The lower or the upper triangle of matrices: the other elements become 0. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeBytes, dtypeCode, dtypes, isFloat } from '../tensor/dtype.js';
import { show, sizeOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem, type Sample } from './define.js';
import { bytesOf } from './elementwise.js';
import { loneGroup, overBinding, wordsOf } from './launch.js';

export interface TriangleAttrs {
  /** The last (tril) or first (triu) diagonal that stays: 0 the main one, above it positive. */
  diagonal: number;
}

function sizesOf({ inputs: [x] }: Problem<TriangleAttrs>): {
  matrices: number;
  rows: number;
  columns: number;
} {
  const [rows, columns] = x!.shape.slice(-2) as [number, number];
  return { matrices: sizeOf(x!.shape.slice(0, -2)), rows, columns };
}

const samples: Sample<TriangleAttrs>[] = [
  { shapes: [[33, 65]] },
  { shapes: [[65, 33]], attrs: { diagonal: -3 } },
  { shapes: [[3, 7, 5]], attrs: { diagonal: 2 } },
  { shapes: [[1, 1]] },
  { shapes: [[1, 1]], attrs: { diagonal: 1 } },
  { shapes: [[1, 1]], attrs: { diagonal: -1 } },
  { shapes: [[0, 3]] },
  { shapes: [[2, 3, 0]] },
  { shapes: [[2, 4, 64, 64]] },
  { shapes: [[5, 9]], attrs: { diagonal: 100 } },
  { shapes: [[5, 9]], attrs: { diagonal: -100 } },
  { shapes: [[70001, 3]], attrs: { diagonal: -1 }, heavy: true },
];

const triangle = (name: 'tril' | 'triu', doc: string) =>
  defineOp<[x: Tensor]>()<TriangleAttrs>({
    name,
    doc,
    inputs: ['x'],
    attrs: { diagonal: 0 },
    dtypes,
    infer([x], { diagonal }) {
      if (x!.rank < 2)
        throw new ShapeError(`${show(x!.shape, x!.dtype)} is no matrix`, {
          op: name,
          hint: 'x is [..., rows, columns]',
        });
      if (diagonal !== (diagonal | 0))
        throw new ArgumentError(`diagonal is ${String(diagonal)}`, { op: name, hint: 'it is an int32' });
      return [x!];
    },
    reference([x], problem) {
      const { rows, columns } = sizesOf(problem);
      return [
        x!.map((v, e) => {
          const above = (e % columns) - (Math.floor(e / columns) % rows) - problem.attrs.diagonal;
          return (name === 'tril' ? above <= 0 : above >= 0) ? v : 0;
        }),
      ];
    },
    cpu(problem) {
      const { matrices, rows, columns } = sizesOf(problem);
      return {
        kernel: 'triangle',
        attrs: [
          dtypeBytes[problem.inputs[0]!.dtype],
          matrices * rows,
          rows,
          columns,
          problem.attrs.diagonal,
          name === 'triu' ? 1 : 0,
        ],
      };
    },
    gpu: [
      {
        name: 'simple',
        admits: (problem, caps) => overBinding(problem.inputs, caps),
        plan(problem, caps) {
          const x = problem.inputs[0]!;
          if (x.size === 0) return { dispatches: [] };
          const { rows, columns } = sizesOf(problem);
          const group = loneGroup(caps);
          return {
            dispatches: [
              {
                shader: 'triangle',
                spec: [group, dtypeCode[x.dtype], name === 'triu' ? 1 : 0],
                push: [wordsOf(x), x.size, rows, columns, problem.attrs.diagonal >>> 0],
                groups: Math.ceil(wordsOf(x) / group),
                binds: [{ operand: 0 }, { operand: 1 }],
              },
            ],
          };
        },
      },
    ],
    cost: (problem) => ({ flops: 0, bytes: bytesOf(problem), family: 'move' }),
    backward: ({ grads: [g], attrs, problem, F }) => [
      isFloat(problem.inputs[0]!.dtype) ? F[name]!(g, attrs) : null,
    ],
    saves: {},
    samples,
    invalid: [
      { shapes: [[3]], code: 'ATTN_SHAPE' },
      { shapes: [[3, 3]], attrs: { diagonal: 0.5 }, code: 'ATTN_ARGUMENT' },
      { shapes: [[3, 3]], attrs: { diagonal: 2 ** 31 }, code: 'ATTN_ARGUMENT' },
    ],
  });

/** x[..., i, j] where j - i <= diagonal, 0 elsewhere: ones of it are a causal mask. */
export const tril = triangle('tril', 'x where column - row <= diagonal, else 0');

/** x[..., i, j] where j - i >= diagonal, 0 elsewhere. */
export const triu = triangle('triu', 'x where column - row >= diagonal, else 0');
