/** Reorders axes; without `axes`, reverses them. */
import { ArgumentError } from '../runtime/errors.js';
import { dtypes } from '../tensor/dtype.js';
import { normalizeAxes, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { cpuCopy, strided, tiled, viewOf } from './strided.js';

export interface PermuteAttrs {
  /** Axis of the input that each axis of the output is; null: all, last to first. */
  axes: readonly number[] | null;
}

function order(axes: readonly number[] | null, rank: number): number[] {
  if (axes === null || axes === undefined) return Array.from({ length: rank }, (_, i) => rank - 1 - i);
  if (!Array.isArray(axes) || normalizeAxes(axes, rank, 'permute').length !== rank)
    throw new ArgumentError(`axes [${axes}] are not an order of ${rank} axes`, {
      op: 'permute',
      hint: `name each of 0 to ${rank - 1} once`,
    });
  return axes.map((a) => (a < 0 ? a + rank : a));
}

function view({ inputs, outputs, attrs }: Problem<PermuteAttrs>) {
  const strides = stridesOf(inputs[0]!.shape);
  return viewOf(
    outputs[0]!.shape,
    order(attrs.axes, inputs[0]!.rank).map((a) => strides[a]!),
  );
}

/** The axes of x in another order: output axis i is axis `axes[i]` of x. */
export const permute = defineOp<[x: Tensor]>()<PermuteAttrs>({
  name: 'permute',
  doc: 'the axes of x in another order',
  inputs: ['x'],
  attrs: { axes: null },
  dtypes,
  infer: ([x], { axes }) => [
    spec(
      order(axes, x!.rank).map((a) => x!.shape[a]!),
      x!.dtype,
    ),
  ],
  reference([x], { inputs, outputs, attrs }) {
    const axes = order(attrs.axes, inputs[0]!.rank);
    const from = stridesOf(inputs[0]!.shape);
    const to = stridesOf(outputs[0]!.shape);
    return [
      Float64Array.from(x!, (_, e) => {
        let at = 0;
        axes.forEach((a, i) => {
          at += (Math.floor(e / to[i]!) % outputs[0]!.shape[i]!) * from[a]!;
        });
        return x![at]!;
      }),
    ];
  },
  cpu: (problem) => cpuCopy(problem, view(problem)),
  gpu: [tiled(view), strided(view)],
  cost: ({ inputs }) => ({ flops: 0, bytes: 2 * inputs[0]!.bytes, family: 'move' }),
  backward({ grads: [g], attrs: { axes }, F }) {
    const forward = order(axes, g!.rank);
    return [F.permute!(g, { axes: forward.map((_, i) => forward.indexOf(i)) })];
  },
  saves: {},
  samples: [
    { shapes: [[33, 70]] },
    { shapes: [[]] },
    { shapes: [[1]] },
    { shapes: [[0, 3]] },
    { shapes: [[6, 10, 7]], attrs: { axes: [2, 0, 1] } },
    { shapes: [[4, 9, 16]], attrs: { axes: [0, 2, 1] } },
    { shapes: [[5, 3, 7]], attrs: { axes: [1, 0, 2] } },
    { shapes: [[3, 4, 5, 6]], attrs: { axes: [0, -2, 1, -1] } },
    { shapes: [[4, 40, 2, 36]], attrs: { axes: [3, 0, 1, 2] } },
    { shapes: [[2, 3, 2, 3, 2, 3, 2, 3]] },
    { shapes: [[64, 128]], attrs: { axes: [1, 0] } },
    { shapes: [[70000, 3]], heavy: true },
    { shapes: [[3, 70001]], heavy: true },
    { shapes: [[1000, 1030]], heavy: true },
  ],
  invalid: [
    { shapes: [[2, 3]], attrs: { axes: [0] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3]], attrs: { axes: [0, 0] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3]], attrs: { axes: [0, 2] }, code: 'ATTN_ARGUMENT' },
  ],
});
