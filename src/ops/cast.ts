/** Conversion between dtypes. */
import { checkDType, type DType, decode, dtypeCode, dtypes, encode, isFloat } from '../tensor/dtype.js';
import { spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Sample } from './define.js';
import { bytesOf, codes, contiguous } from './elementwise.js';

/** Truncated toward zero and kept in [low, high]; NaN becomes 0. */
const saturate = (x: number, low: number, high: number) =>
  Number.isNaN(x) ? 0 : Math.trunc(Math.min(Math.max(x, low), high));

const all: DType[] = [...dtypes];
const far: readonly [number, number] = [-5e9, 5e9];

/**
 * `cast(x, { dtype })`. Floats round to nearest even; float → int truncates toward zero and saturates, NaN → 0;
 * int32 → uint8 wraps modulo 256; whatever is not 0 becomes true.
 */
export const cast = defineOp<[x: Tensor]>()({
  name: 'cast',
  doc: 'x in another dtype',
  inputs: ['x'],
  attrs: { dtype: 'float32' as DType },
  dtypes: all,
  infer: ([x], { dtype }) => [spec(x!.shape, checkDType(dtype, 'cast'))],
  reference([x], { inputs, attrs: { dtype } }) {
    const truncates = isFloat(inputs[0]!.dtype);
    // Exact, also for gradcheck, whose float32 holds more digits than one.
    if (truncates && dtype === 'float32') return [x!.slice()];
    if (truncates && dtype === 'int32') return [x!.map((v) => saturate(v, -(2 ** 31), 2 ** 31 - 1))];
    if (truncates && dtype === 'uint8') return [x!.map((v) => saturate(v, 0, 255))];
    return [decode(dtype, encode(dtype, x!))];
  },
  cpu: ({ inputs: [x], outputs: [y] }) => ({
    kernel: 'cast',
    attrs: [dtypeCode[x!.dtype], dtypeCode[y!.dtype], x!.size],
  }),
  gpu: [
    contiguous<{ dtype: DType }>(
      'cast',
      ({ inputs: [x], outputs: [y] }) => codes(x!, y!),
      () => 4,
    ),
  ],
  cost: (problem) => ({ flops: problem.inputs[0]!.size, bytes: bytesOf(problem), family: 'map' }),
  backward({ grads: [g], problem, F }) {
    const { dtype } = problem.inputs[0]!;
    return [isFloat(dtype) ? F.cast!(g, { dtype }) : null];
  },
  saves: {},
  samples: dtypes.flatMap((dtype): Sample<{ dtype: DType }>[] => [
    { shapes: [[7, 19]], attrs: { dtype } },
    { shapes: [[]], attrs: { dtype } },
    { shapes: [[0]], attrs: { dtype } },
    {
      shapes: [[333]],
      attrs: { dtype },
      domains: [[-300, 300]],
      dtypes: ['float32', 'bfloat16', 'float16', 'int32'],
    },
    { shapes: [[70001]], attrs: { dtype }, heavy: true },
    ...(dtype === 'float16'
      ? []
      : [{ shapes: [[333]], attrs: { dtype }, domains: [far], dtypes: ['float32'] as const }]),
  ]),
  tolerance: 0,
  invalid: [{ shapes: [[2]], attrs: { dtype: 'float64' as DType }, code: 'ATTN_DTYPE' }],
});
