/** Element-wise choice. */
import { type DType, dtypeBytes, dtypes, perWord } from '../tensor/dtype.js';
import { broadcastShapes, type Shape, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Operand, type Problem, type Sample } from './define.js';
import {
  broadcast,
  bytesOf,
  codes,
  contiguous,
  eachElement,
  packWalk,
  rows,
  sumTo,
  walkOf,
} from './elementwise.js';

const constants = ({ inputs: [, a] }: Problem): number[] => codes(a!);
const on = (c: Shape, a: Shape, b: Shape): Sample<object> => ({ shapes: [c, a, b] });
const all: DType[] = [...dtypes];

/** `where(condition, a, b)`: a where the condition holds, else b; all three broadcast. */
export const where = defineOp<[condition: Tensor, a: Operand, b: Operand]>()({
  name: 'where',
  doc: 'condition ? a : b',
  inputs: [{ name: 'condition', dtype: 'bool', domain: [0, 1] }, 'a', 'b'],
  attrs: {},
  autocast: 'widest',
  dtypes: all,
  infer: ([c, a, b]) => [spec(broadcastShapes([c!.shape, a!.shape, b!.shape], 'where'), a!.dtype)],
  reference([c, a, b], problem) {
    const out = new Float64Array(problem.outputs[0]!.size);
    eachElement(walkOf(problem), (i, [ct, at, bt]) => {
      out[i] = c![ct!] ? a![at!]! : b![bt!]!;
    });
    return [out];
  },
  cpu: (problem) => ({
    kernel: 'where',
    attrs: [dtypeBytes[problem.outputs[0]!.dtype], ...packWalk(walkOf(problem))],
  }),
  gpu: [
    contiguous('where', constants, ({ inputs: [, a] }) => 4 * perWord(a!.dtype)),
    rows('where_rows', constants, ({ inputs: [, a] }) => 4 * perWord(a!.dtype)),
    broadcast('where_broadcast', constants),
  ],
  cost: (problem) => ({ flops: problem.outputs[0]!.size, bytes: bytesOf(problem), family: 'map' }),
  backward({ grads: [g], needs, inputs: [c], problem, F }) {
    const [, a, b] = problem.inputs;
    return [
      null,
      needs[1] ? sumTo(F.where!(c, g, 0), a!.shape, F) : null,
      needs[2] ? sumTo(F.where!(c, 0, g), b!.shape, F) : null,
    ];
  },
  saves: { inputs: [0] },
  samples: [
    on([], [], []),
    on([0], [1], []),
    on([1], [1], [1]),
    on([37], [37], [37]),
    on([129, 65], [129, 65], [129, 65]),
    on([131], [131], []),
    on([131], [], [131]),
    on([], [131], [131]),
    on([9, 67], [67], [9, 1]),
    on([9, 1], [9, 67], []),
    on([4, 1, 5, 3], [6, 1, 3], [1, 5, 1]),
    on([9, 64], [3, 9, 64], []),
    on([3, 1, 1], [9, 64], [3, 9, 1]),
    { ...on([70000, 3], [3], [70000, 1]), heavy: true },
  ],
  invalid: [{ shapes: [[2], [3], [3]], code: 'ATTN_SHAPE' }],
});
