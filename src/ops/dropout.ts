/** Dropout by a counter-based generator: the mask is made again in the gradient instead of kept. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatBits, floatDTypes } from '../tensor/dtype.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, split } from './launch.js';
import { philox } from './philox.js';

export interface DropoutAttrs {
  /** Probability, 0 ≤ p < 1, with which an element becomes 0. */
  p: number;
}

/** u >= p for a fraction u of 24 bits where its integer reaches this one. */
const thresholdOf = ({ p }: DropoutAttrs): number => Math.ceil(p * 2 ** 24);
const scaleOf = ({ p }: DropoutAttrs): number => 1 / (1 - p);

/**
 * `dropout(x, state, { p })`: x / (1 - p) where u >= p and 0 elsewhere, u uniform in [0, 1) with 24 bits. `state`
 * (int32 [4]) is an operand, so that a new one at every step needs nothing prepared anew: its words 0 and 1 are the key
 * and 2 and 3 the upper half of the counter of Philox4x32-10, low word first (Salmon et al., "Parallel random numbers:
 * as easy as 1, 2, 3", SC11). Element i uses lane i mod 4 of counter {i div 4, state}: equal states give equal masks
 * on every device, however work is split.
 */
export const dropout = defineOp<[x: Tensor, state: Tensor]>()<DropoutAttrs>({
  name: 'dropout',
  doc: 'x / (1 - p) where u(state) >= p, else 0',
  inputs: ['x', { name: 'state', dtype: 'int32', domain: [-(2 ** 31), 2 ** 31 - 1] }],
  attrs: { p: 0.5 },
  dtypes: floatDTypes,
  infer([x, state], { p }) {
    if (state!.rank !== 1 || state!.size !== 4)
      throw new ShapeError(`state is ${show(state!.shape)}, for x ${show(x!.shape)}`, {
        op: 'dropout',
        hint: 'it has four words: key, and upper half of the counter',
      });
    if (!(p >= 0 && p < 1))
      throw new ArgumentError(`p is ${String(p)}`, { op: 'dropout', hint: 'it is a probability below 1' });
    return [x!];
  },
  reference([x, state], { attrs }) {
    const [k0, k1, c2, c3] = Array.from(state!, (word) => word >>> 0) as [number, number, number, number];
    const threshold = thresholdOf(attrs);
    const y = new Float64Array(x!.length);
    for (let i = 0; i < y.length; i += 4)
      philox([(i / 4) >>> 0, Math.floor(i / 4 / 2 ** 32), c2, c3], [k0, k1]).forEach((word, k) => {
        if (word >>> 8 >= threshold && i + k < y.length) y[i + k] = x![i + k]! * scaleOf(attrs);
      });
    return [y];
  },
  cpu: ({ inputs: [x], attrs }) => ({
    kernel: 'dropout',
    attrs: [dtypeCode[x!.dtype], x!.size, thresholdOf(attrs), scaleOf(attrs)],
  }),
  gpu: [
    {
      name: 'counters',
      admits: () => null,
      plan({ inputs: [x, state], outputs: [y], attrs }, caps) {
        const size = mapGroup(caps);
        const operands = [x!, state!, y!].map((spec, i) => ({ spec, moves: i === 1 ? 0 : 1 }));
        return {
          dispatches: split(operands, y!.size, caps, ({ first, count }, binds) => {
            const counters = Math.ceil(count / 4);
            return {
              shader: 'dropout',
              spec: [size, dtypeCode[y!.dtype]],
              push: [
                counters,
                (first / 4) % 2 ** 32,
                Math.floor(first / 4 / 2 ** 32),
                thresholdOf(attrs),
                floatBits(scaleOf(attrs)),
              ],
              groups: Math.ceil(counters / size),
              binds,
            };
          }),
        };
      },
    },
  ],
  cost: (problem) => ({ flops: 40 * problem.outputs[0]!.size, bytes: bytesOf(problem), family: 'random' }),
  backward: ({ grads: [g], inputs: [, state], attrs, F }) => [F.dropout!(g, state, attrs), null],
  saves: { inputs: [1] },
  samples: [
    { shapes: [[33, 65], [4]], attrs: { p: 0.1 } },
    { shapes: [[], [4]] },
    { shapes: [[0], [4]] },
    { shapes: [[1], [4]], attrs: { p: 0.25 } },
    { shapes: [[37], [4]], attrs: { p: 0 } },
    { shapes: [[5, 7, 3], [4]], attrs: { p: 0.9 } },
    { shapes: [[4, 64, 64], [4]], attrs: { p: 0.2 } },
    { shapes: [[70000, 3], [4]], attrs: { p: 0.5 }, heavy: true },
  ],
  invalid: [
    { shapes: [[3], [3]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [2, 2]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [4]], attrs: { p: 1 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3], [4]], attrs: { p: -0.1 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3], [4]], attrs: { p: Number.NaN }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3], [4]], dtypes: ['float32', 'float32'], code: 'ATTN_DTYPE' },
  ],
});
