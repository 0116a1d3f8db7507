/** Surrounds a tensor with a constant. */
import { ArgumentError } from '../runtime/errors.js';
import { type DType, dtypeBytes, dtypeCode, dtypes, encode } from '../tensor/dtype.js';
import { type Shape, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { loneGroup, overBinding, wordsOf } from './launch.js';

export interface PadAttrs {
  /** Elements to add in front of each axis; axes left out get none. */
  before: readonly number[];
  /** Elements to add behind each axis; null: as many as before. */
  after: readonly number[] | null;
  value: number;
}

interface Padding {
  size: number;
  before: number;
  after: number;
}

function paddingOf(shape: Shape, attrs: PadAttrs): Padding[] {
  const { before } = attrs;
  const after = attrs.after ?? before;
  for (const [name, list] of Object.entries({ before, after }))
    if (
      !Array.isArray(list) ||
      list.length > shape.length ||
      !list.every((n) => Number.isInteger(n) && n >= 0)
    )
      throw new ArgumentError(`${name} [${list}] does not fit a tensor of rank ${shape.length}`, {
        op: 'pad',
        hint: 'give one count, 0 or more, for each leading axis',
      });
  return shape.map((size, i) => ({ size, before: before[i] ?? 0, after: after[i] ?? 0 }));
}

/** An axis without padding is one with the axis before it, whose padding it multiplies. */
function merged({ inputs, attrs }: Problem<PadAttrs>): Padding[] {
  const out: Padding[] = [];
  for (const { size, before, after } of paddingOf(inputs[0]!.shape, attrs)) {
    const last = out[out.length - 1];
    if (last && before + after === 0) {
      last.size *= size;
      last.before *= size;
      last.after *= size;
    } else out.push({ size, before, after });
  }
  return out.length > 0 ? out : [{ size: 1, before: 0, after: 0 }];
}

/** The storage of one element. */
function bitsOf(dtype: DType, value: number): number {
  const raw = encode(dtype, [value]);
  return dtypeBytes[dtype] === 4 ? new Uint32Array(raw.buffer)[0]! : raw[0]!;
}

/** x with `before` and `after` elements of `value` around it on each axis. */
export const pad = defineOp<[x: Tensor]>()<PadAttrs>({
  name: 'pad',
  doc: 'x with a constant around it',
  inputs: ['x'],
  attrs: { before: [], after: null, value: 0 },
  dtypes,
  infer: ([x], attrs) => [
    spec(
      paddingOf(x!.shape, attrs).map((p) => p.before + p.size + p.after),
      x!.dtype,
    ),
  ],
  reference([x], { inputs, outputs, attrs }) {
    const padding = paddingOf(inputs[0]!.shape, attrs);
    const from = stridesOf(inputs[0]!.shape);
    const to = stridesOf(outputs[0]!.shape);
    const fill = inputs[0]!.dtype === 'bool' ? Number(attrs.value !== 0) : attrs.value;
    const y = new Float64Array(outputs[0]!.size);
    for (let e = 0; e < y.length; e++) {
      let at = 0;
      padding.forEach((p, i) => {
        const k = (Math.floor(e / to[i]!) % outputs[0]!.shape[i]!) - p.before;
        at = k < 0 || k >= p.size || at < 0 ? -1 : at + k * from[i]!;
      });
      y[e] = at < 0 ? fill : x![at]!;
    }
    return [y];
  },
  cpu(problem) {
    const { dtype } = problem.inputs[0]!;
    const padding = merged(problem);
    return {
      kernel: 'pad',
      attrs: [
        dtypeBytes[dtype],
        bitsOf(dtype, problem.attrs.value),
        ...[padding.map((p) => p.size), padding.map((p) => p.before), padding.map((p) => p.after)].flatMap(
          (list) => [list.length, ...list],
        ),
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
        const group = loneGroup(caps);
        const axes = merged(problem).reverse();
        while (axes.length < 8) axes.push({ size: 1, before: 0, after: 0 });
        return {
          dispatches: [
            {
              shader: 'pad',
              spec: [group, dtypeCode[y.dtype], merged(problem).length],
              push: [
                words,
                y.size,
                bitsOf(y.dtype, problem.attrs.value),
                ...axes.map((p) => p.size),
                ...axes.map((p) => p.before),
                ...axes.map((p) => p.before + p.size + p.after),
              ],
              groups: Math.ceil(words / group),
              binds: [{ operand: 0 }, { operand: 1 }],
            },
          ],
        };
      },
    },
  ],
  cost: ({ inputs, outputs }) => ({ flops: 0, bytes: inputs[0]!.bytes + outputs[0]!.bytes, family: 'move' }),
  backward({ grads: [g], problem, F }) {
    const padding = paddingOf(problem.inputs[0]!.shape, problem.attrs);
    return [
      F.slice!(g, { starts: padding.map((p) => p.before), ends: padding.map((p) => p.before + p.size) }),
    ];
  },
  saves: {},
  samples: [
    { shapes: [[33, 65]], attrs: { before: [1, 2], after: [0, 3], value: 2 } },
    { shapes: [[]], attrs: { value: 1 } },
    { shapes: [[1]], attrs: { before: [3], value: 1 } },
    { shapes: [[7]], attrs: { before: [0], after: [5] } },
    { shapes: [[0, 3]], attrs: { before: [2, 1], value: 1 } },
    { shapes: [[0]], attrs: { before: [0] } },
    { shapes: [[4, 5, 6]], attrs: { before: [0, 2], after: [0, 1], value: 3 } },
    { shapes: [[4, 5, 6]], attrs: { before: [1] } },
    { shapes: [[2, 3, 2, 3, 2, 3]], attrs: { before: [1, 0, 1, 0, 1, 1], value: 1 } },
    { shapes: [[2, 2, 2, 2, 2, 2, 2, 2]], attrs: { before: [1, 1, 1, 1, 1, 1, 1, 1] } },
    { shapes: [[64, 128]], attrs: { before: [0, 64], after: [0, 0] } },
    { shapes: [[70001, 3]], attrs: { before: [1, 1] }, heavy: true },
  ],
  invalid: [
    { shapes: [[4]], attrs: { before: [-1] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { before: [1, 1] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { before: [0.5] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { before: [2 ** 50] }, code: 'ATTN_SHAPE' },
  ],
});
