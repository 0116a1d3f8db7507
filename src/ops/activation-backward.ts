/** The gradients of activations that stand alone: one op for all of them. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AnyActivation, activationCode, activationTable } from './activations.js';
import { defineOp, type Sample } from './define.js';
import { bytesOf, codes, contiguous } from './elementwise.js';

export interface ActivationBackwardAttrs {
  activation: AnyActivation;
}

const op = 'activation_backward';
const names = (Object.keys(activationTable) as AnyActivation[]).filter((name) => name !== 'none');

const on = (
  shape: number[],
  activation: AnyActivation,
  more: Partial<Sample<ActivationBackwardAttrs>> = {},
): Sample<ActivationBackwardAttrs> => ({ shapes: [shape, shape], attrs: { activation }, ...more });

/** dx = dy act'(x). */
export const activationBackward = defineOp<[dy: Tensor, x: Tensor]>()<ActivationBackwardAttrs>({
  name: op,
  doc: 'dy act′(x)',
  internal: true,
  inputs: ['dy', 'x'],
  attrs: { activation: 'relu' },
  dtypes: floatDTypes,
  infer([dy, x], { activation }) {
    if (!(names as readonly string[]).includes(activation))
      throw new ArgumentError(`unknown activation '${String(activation)}'`, {
        op,
        hint: `use one of ${names.join(', ')}`,
      });
    if (show(dy!.shape) !== show(x!.shape))
      throw new ShapeError(`dy ${show(dy!.shape)} is not of the shape of x ${show(x!.shape)}`, {
        op,
        hint: 'the gradient of an activation has the shape of its input',
      });
    return [x!];
  },
  reference: ([dy, x], { attrs: { activation } }) => {
    const { slope } = activationTable[activation];
    return [dy!.map((g, i) => g * slope(x![i]!))];
  },
  cpu: ({ inputs: [x], attrs: { activation } }) => ({
    kernel: op,
    attrs: [activationCode[activation], dtypeCode[x!.dtype], x!.size],
  }),
  gpu: [
    contiguous(
      op,
      ({ inputs: [x], attrs: { activation } }) => [activationCode[activation], ...codes(x!)],
      ({ inputs: [x] }) => 4 * perWord(x!.dtype),
    ),
  ],
  cost: (problem) => ({
    flops: (1 + activationTable[problem.attrs.activation].flops) * problem.inputs[0]!.size,
    bytes: bytesOf(problem),
    family: problem.attrs.activation === 'relu' ? 'map' : 'special',
  }),
  samples: [
    ...names.flatMap((name) => [
      on([129, 65], name),
      on([333], name, {
        domains: [
          [-2, 2],
          [-200, 200],
        ],
        dtypes: ['float32', 'bfloat16'],
      }),
    ]),
    on([], 'gelu'),
    on([0], 'silu'),
    on([1], 'tanh'),
    on([37], 'gelu_tanh'),
    on([70000, 3], 'gelu', { heavy: true }),
  ],
  invalid: [
    { shapes: [[2], [3]], code: 'ATTN_SHAPE' },
    { shapes: [[3], [3]], attrs: { activation: 'none' }, code: 'ATTN_ARGUMENT' },
    { shapes: [[3], [3]], dtypes: ['int32'], code: 'ATTN_DTYPE' },
  ],
});
