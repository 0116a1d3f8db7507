/** A layer y = act(x Wᵀ + bias) + residual. The CPU side is native/cpu/linear.cc. */
import { DTypeError, ShapeError } from '../runtime/errors.js';
import { type DType, dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AnyActivation, activationCode, activationTable } from './activations.js';
import { defineOp, type Sample, type Value } from './define.js';
import { bytesOf } from './elementwise.js';
import { linearVariants } from './linear.gpu.js';
import { checkActivation, checkAmong, checkSizes, type LinearAttrs, named, sizesOf } from './linear.walk.js';

/** bias and residual may be float32 beside halves. */
function checkBeside(name: string, s: Spec, x: Spec): void {
  if (s.dtype !== 'float32' && s.dtype !== x.dtype)
    throw new DTypeError(`'${name}' is ${s.dtype} but 'x' is ${x.dtype}`, {
      op: 'linear',
      hint: `cast ${name} to ${x.dtype} or to float32`,
    });
}

const dtypeOf = (s: Spec | undefined): number => (s ? 1 + dtypeCode[s.dtype] : 0);

const layer = (
  x: Shape,
  outer: number,
  given: 'plain' | 'bias' | 'residual' = 'plain',
  attrs: Partial<LinearAttrs> = {},
): Sample<LinearAttrs> => ({
  shapes: [
    x,
    [outer, x.at(-1)!],
    ...(given === 'plain' ? [] : [[outer]]),
    ...(given === 'residual' ? [[...x.slice(0, -1), outer]] : []),
  ],
  attrs,
});

/** The same with the bias and the residual in the dtype of x, for each of the halves. */
const allHalves = (sample: Sample<LinearAttrs>): Sample<LinearAttrs>[] =>
  (['bfloat16', 'float16'] as const).map((half) => ({
    ...sample,
    dtypes: [half],
    inputDTypes: [undefined, undefined, half, half],
  }));

/**
 * y = act(x Wᵀ + bias) + residual: x [..., I], weight [O, I], bias [O], residual [..., O]; halves are summed in
 * float32. A residual needs a bias beside it. For the gradient the op keeps what the activation was applied to.
 */
export const linear = defineOp<
  [x: Tensor, weight: Tensor, bias?: Tensor | undefined, residual?: Tensor | undefined]
>()<LinearAttrs>({
  name: 'linear',
  doc: 'act(x Wᵀ + bias) + residual; halves are summed in float32',
  inputs: [
    { name: 'x', domain: [-1, 1] },
    { name: 'weight', domain: [-1, 1] },
    { name: 'bias', domain: [-1, 1], dtypes: floatDTypes },
    { name: 'residual', domain: [-1, 1], dtypes: floatDTypes },
  ],
  optional: 2,
  results: 1,
  autocast: 'half',
  attrs: { activation: 'none', outDtype: '', gradDtype: '' },
  dtypes: floatDTypes,

  infer([x, weight, bias, residual], { activation, outDtype, gradDtype }) {
    const op = 'linear';
    checkActivation(activation, op);
    checkAmong('outDtype', outDtype, [x!.dtype, 'float32'], op);
    checkAmong('gradDtype', gradDtype, [weight!.dtype, 'float32'], op);
    const operands = named({ x, weight, bias, residual });
    const { outer } = checkSizes(x!, weight!, operands, op);
    const shape = [...x!.shape.slice(0, -1), outer];
    if (bias && (bias.rank !== 1 || bias.size !== outer))
      throw new ShapeError(`${operands}: the bias does not fit the weight`, {
        op,
        hint: `bias is [O], here [${outer}]`,
      });
    if (residual && show(residual.shape) !== show(shape))
      throw new ShapeError(`${operands}: the residual is not of the result's shape ${show(shape)}`, {
        op,
        hint: 'add a residual of another shape with add',
      });
    if (bias) checkBeside('bias', bias, x!);
    if (residual) checkBeside('residual', residual, x!);
    return [spec(shape, outDtype || x!.dtype), spec(activation === 'none' ? [0] : shape, x!.dtype)];
  },

  reference([x, weight, bias, residual], { inputs, outputs, attrs: { activation } }) {
    const { rows, inner, outer } = sizesOf(inputs[0]!, inputs[1]!);
    const y = new Float64Array(rows * outer);
    const z = new Float64Array(rows * outer);
    for (let r = 0; r < rows; r++)
      for (let o = 0; o < outer; o++) {
        let sum = bias ? bias[o]! : 0;
        for (let i = 0; i < inner; i++) sum += x![r * inner + i]! * weight![o * inner + i]!;
        z[r * outer + o] = sum;
        y[r * outer + o] = activationTable[activation].f(sum) + (residual ? residual[r * outer + o]! : 0);
      }
    return [y, outputs[1]!.size > 0 ? z : new Float64Array(0)];
  },

  cpu({ inputs: [x, weight, bias, residual], outputs, attrs: { activation } }) {
    const { rows, inner, outer } = sizesOf(x!, weight!);
    return {
      kernel: 'linear',
      attrs: [
        dtypeCode[x!.dtype],
        dtypeCode[outputs[0]!.dtype],
        activationCode[activation],
        rows,
        outer,
        inner,
        dtypeOf(bias),
        dtypeOf(residual),
      ],
    };
  },

  gpu: linearVariants,

  cost(problem) {
    const { rows, inner, outer } = sizesOf(problem.inputs[0]!, problem.inputs[1]!);
    const { flops } = activationTable[problem.attrs.activation];
    return { flops: rows * outer * (2 * inner + flops), bytes: bytesOf(problem), family: 'gemm' };
  },

  backward({ grads: [g], needs, inputs: [x, weight], outputs: [, z], attrs, problem, F }) {
    const [, , bias, residual] = problem.inputs;
    const { activation, gradDtype } = attrs;
    const biasDtype: '' | DType = bias && needs[2] ? bias.dtype : '';
    const wanted = { input: needs[0]!, weight: needs[1]!, biasDtype };
    const kept = activation === 'none' ? [] : [z!];
    const [dx, dw, db] =
      wanted.input || wanted.weight || biasDtype
        ? (F.linearBackward!(g!, x!, weight!, ...kept, {
            activation,
            gradDtype,
            ...wanted,
          }) as unknown as Value[])
        : [];
    const gradients: (Value | null)[] = [wanted.input ? dx! : null, wanted.weight ? dw! : null];
    if (bias) gradients.push(biasDtype ? db! : null);
    if (!residual) return gradients;
    const dr = g!.dtype === residual.dtype ? g! : F.cast!(g!, { dtype: residual.dtype });
    return [...gradients, needs[3] ? dr : null];
  },
  saves: { inputs: [0, 1], outputs: [1] },
  recompute: {
    can: ({ inputs, attrs }) => attrs.activation !== 'none' && inputs.length < 4,
    run({ outputs: [, z], attrs: { activation }, problem, F }) {
      const y = F[activation === 'gelu_tanh' ? 'geluTanh' : activation]!(z);
      const { dtype } = problem.outputs[0]!;
      return y.dtype === dtype ? y : F.cast!(y, { dtype });
    },
  },

  tolerance: ({ inputs }) => Math.max(1e-5, inputs[0]!.shape.at(-1)! * 2 ** -23),

  samples: [
    layer([1, 1], 1, 'residual'),
    layer([17, 33], 65),
    layer([3, 5, 16], 24, 'bias'),
    layer([70], 30, 'bias'),
    layer([7, 9], 1, 'residual', { activation: 'gelu' }),
    layer([1, 64], 192, 'residual'),
    layer([0, 4], 3, 'bias', { activation: 'relu' }),
    layer([4, 5], 0, 'bias', { activation: 'relu' }),
    layer([3, 0], 5, 'residual', { activation: 'silu' }),
    ...(Object.keys(activationTable) as AnyActivation[]).flatMap((activation) => [
      layer([19, 12], 30, 'bias', { activation }),
      layer([131, 20], 34, 'residual', { activation }),
      ...allHalves(layer([33, 17], 22, 'residual', { activation })),
    ]),
    layer([19, 12], 31, 'residual', { activation: 'gelu' }),
    layer([40, 64], 72, 'plain', { activation: 'gelu_tanh' }),
    { ...layer([33, 17], 30, 'residual', { outDtype: 'float32', activation: 'gelu' }) },
    { ...layer([33, 18], 31, 'bias', { outDtype: 'float32', activation: 'silu' }) },
    ...allHalves(layer([21, 18], 31, 'residual', { outDtype: 'float32', activation: 'relu' })),
    layer([8, 64, 64], 192, 'bias'),
    layer([520, 64], 256, 'bias', { activation: 'gelu' }),
    layer([513, 256], 64, 'residual'),
    { ...layer([700, 128], 384, 'bias'), heavy: true },
    { ...layer([2, 261, 256], 1024, 'residual', { activation: 'gelu' }), heavy: true },
    { ...layer([70000, 3], 5, 'residual', { activation: 'gelu' }), heavy: true },
    // Larger than a binding of 128 MiB.
    { ...layer([70001, 2], 500, 'residual', { activation: 'relu' }), dtypes: ['float32'], heavy: true },
  ],
  invalid: [
    {
      shapes: [
        [2, 3],
        [4, 5],
      ],
      code: 'ATTN_SHAPE',
    },
    { shapes: [[], [4, 5]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3], [3]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3], [5, 3], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3], [5, 3], [5], [5]], code: 'ATTN_SHAPE' },
    {
      shapes: [
        [2, 3],
        [5, 3],
      ],
      attrs: { activation: 'swish' as AnyActivation },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [2, 3],
        [5, 3],
      ],
      attrs: { outDtype: 'int32' },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [2, 3],
        [5, 3],
      ],
      attrs: { gradDtype: 'float16' },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [2, 3],
        [5, 3],
      ],
      dtypes: ['float32', 'bfloat16'],
      code: 'ATTN_DTYPE',
    },
    { shapes: [[2, 3], [5, 3], [5]], dtypes: ['bfloat16', 'bfloat16', 'float16'], code: 'ATTN_DTYPE' },
  ],
});
