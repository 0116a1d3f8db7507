/** The gradients of a layer, from that of its result. The CPU side is native/cpu/linear_backward.cc. */
import { DTypeError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AnyActivation, activationCode, activationTable } from './activations.js';
import { defineOp, type Problem, type Sample } from './define.js';
import { bytesOf } from './elementwise.js';
import {
  checkActivation,
  checkAmong,
  checkSizes,
  type LinearBackwardAttrs,
  named,
  sizesOf,
} from './linear.walk.js';
import { linearBackwardVariants } from './linear-backward.gpu.js';

const op = 'linear_backward';

const sizes = ({ inputs }: Problem<LinearBackwardAttrs>) => sizesOf(inputs[1]!, inputs[2]!);

const layer = (
  x: Shape,
  outer: number,
  attrs: Partial<LinearBackwardAttrs> = {},
): Sample<LinearBackwardAttrs> => {
  const dy = [...x.slice(0, -1), outer];
  const plain = (attrs.activation ?? 'none') === 'none';
  return { shapes: [dy, x, [outer, x.at(-1)!], ...(plain ? [] : [dy])], attrs };
};

const bias: Partial<LinearBackwardAttrs> = { biasDtype: 'float32' };

/** With dy, and the gradient of the bias, in the dtype of x, for each of the halves. */
const allHalves = (sample: Sample<LinearBackwardAttrs>): Sample<LinearBackwardAttrs>[] =>
  (['bfloat16', 'float16'] as const).map((half) => ({
    ...sample,
    attrs: { ...sample.attrs, biasDtype: half },
    dtypes: [half],
    inputDTypes: [half],
  }));

/**
 * dz = dy act'(z), and of it dx = dz W, dW = dzᵀ x and the bias's db = Σ dz over the rows, each where it is wanted
 * (of shape [0] otherwise). x [..., I], weight [O, I]; dy and z [..., O]; z only where there is an activation.
 */
export const linearBackward = defineOp<
  [dy: Tensor, x: Tensor, weight: Tensor, z?: Tensor],
  [Tensor, Tensor, Tensor]
>()<LinearBackwardAttrs>({
  name: op,
  doc: 'dz = dy act′(z); dz W, dzᵀ x, and the sums of the columns of dz',
  internal: true,
  inputs: [
    { name: 'dy', domain: [-1, 1], dtypes: floatDTypes },
    { name: 'x', domain: [-1, 1] },
    { name: 'weight', domain: [-1, 1] },
    'z',
  ],
  optional: 1,
  results: 3,
  attrs: { activation: 'none', input: true, weight: true, gradDtype: '', biasDtype: '' },
  dtypes: floatDTypes,

  infer([dy, x, weight, z], { activation, input, weight: wanted, gradDtype, biasDtype }) {
    checkActivation(activation, op);
    checkAmong('gradDtype', gradDtype, [weight!.dtype, 'float32'], op);
    checkAmong('biasDtype', biasDtype, [x!.dtype, 'float32'], op);
    const operands = named({ dy, x, weight, z });
    const { outer } = checkSizes(x!, weight!, operands, op);
    const shape = show([...x!.shape.slice(0, -1), outer]);
    for (const [name, s] of Object.entries({ dy, z }) as [string, Spec | undefined][])
      if (s && show(s.shape) !== shape)
        throw new ShapeError(`${operands}: ${name} is not of the result's shape ${shape}`, {
          op,
          hint: 'dy and z are what linear gave, [..., O]',
        });
    if (dy!.dtype !== x!.dtype && dy!.dtype !== 'float32')
      throw new DTypeError(`'dy' is ${dy!.dtype} but 'x' is ${x!.dtype}`, { op, hint: 'cast dy' });
    if (!z !== (activation === 'none'))
      throw new ShapeError(`${operands}: z is ${z ? '' : 'not '}given with activation '${activation}'`, {
        op,
        hint: 'z is what the activation was applied to',
      });
    return [
      spec(input ? x!.shape : [0], x!.dtype),
      spec(wanted ? weight!.shape : [0], gradDtype || weight!.dtype),
      spec(biasDtype ? [outer] : [0], biasDtype || x!.dtype),
    ];
  },

  reference([dy, x, weight, z], problem) {
    const { rows, inner, outer } = sizes(problem);
    const { activation, input, weight: wanted, biasDtype } = problem.attrs;
    const dz = z ? dy!.map((g, i) => g * activationTable[activation].slope(z[i]!)) : dy!;
    const dx = new Float64Array(input ? rows * inner : 0);
    const dw = new Float64Array(wanted ? outer * inner : 0);
    const db = new Float64Array(biasDtype ? outer : 0);
    for (let r = 0; r < rows; r++)
      for (let o = 0; o < outer; o++) {
        const g = dz[r * outer + o]!;
        if (biasDtype) db[o]! += g;
        for (let i = 0; i < inner; i++) {
          if (input) dx[r * inner + i]! += g * weight![o * inner + i]!;
          if (wanted) dw[o * inner + i]! += g * x![r * inner + i]!;
        }
      }
    return [dx, dw, db];
  },

  cpu(problem) {
    const { rows, inner, outer } = sizes(problem);
    const { activation, input, weight, biasDtype } = problem.attrs;
    const [dy, x] = problem.inputs;
    return {
      kernel: 'linear_backward',
      attrs: [
        dtypeCode[x!.dtype],
        dtypeCode[dy!.dtype],
        activationCode[activation],
        rows,
        outer,
        inner,
        Number(input),
        Number(weight),
        dtypeCode[problem.outputs[1]!.dtype],
        biasDtype ? 1 + dtypeCode[biasDtype] : 0,
      ],
    };
  },

  gpu: linearBackwardVariants,

  cost(problem) {
    const { rows, inner, outer } = sizes(problem);
    const { activation, input, weight } = problem.attrs;
    const products = 2 * inner * (Number(input) + Number(weight));
    return {
      flops: rows * outer * (products + 1 + activationTable[activation].flops),
      bytes: bytesOf(problem),
      family: 'gemm',
    };
  },

  // Halves round dz before it is summed, over rows or over columns.
  tolerance(problem) {
    const { rows, outer } = sizes(problem);
    const terms = Math.max(rows, outer);
    return problem.inputs[1]!.dtype === 'float32'
      ? Math.max(1e-5, terms * 2 ** -23)
      : Math.sqrt(terms) * (problem.inputs[1]!.dtype === 'bfloat16' ? 2 ** -8 : 2 ** -11);
  },

  samples: [
    layer([1, 1], 1, bias),
    layer([17, 33], 65),
    layer([3, 5, 16], 24, bias),
    layer([70], 30, bias),
    layer([7, 9], 1, { ...bias, activation: 'gelu' }),
    layer([0, 4], 3, { ...bias, activation: 'relu' }),
    layer([4, 5], 0, { ...bias, activation: 'relu' }),
    layer([3, 0], 5, { ...bias, activation: 'silu' }),
    layer([19, 12], 30, { ...bias, input: false }),
    layer([19, 12], 30, { ...bias, weight: false, activation: 'silu' }),
    layer([19, 12], 30, { activation: 'gelu' }),
    layer([19, 12], 31, { ...bias, input: false, weight: false }),
    ...(Object.keys(activationTable) as AnyActivation[]).flatMap((activation) => [
      layer([131, 20], 34, { ...bias, activation }),
      ...allHalves(layer([33, 17], 22, { activation })),
    ]),
    ...allHalves(layer([21, 13], 11, { activation: 'gelu', gradDtype: 'float32' })),
    layer([19, 12], 31, { ...bias, activation: 'gelu' }),
    { ...layer([33, 18], 31, { ...bias, gradDtype: 'float32' }), dtypes: ['bfloat16', 'float16'] },
    layer([8, 64, 64], 192, bias),
    layer([520, 64], 256, { ...bias, activation: 'gelu' }),
    layer([513, 256], 64),
    { ...layer([700, 128], 384, bias), heavy: true },
    { ...layer([2, 261, 256], 1024, { ...bias, activation: 'gelu' }), heavy: true },
    { ...layer([70000, 3], 5, { ...bias, activation: 'gelu' }), heavy: true },
  ],
  invalid: [
    {
      shapes: [
        [2, 5],
        [2, 3],
        [4, 5],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 5],
        [2, 3],
        [4, 3],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 4],
        [2, 3],
        [4, 3],
      ],
      attrs: { activation: 'relu' },
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 4],
        [2, 3],
        [4, 3],
        [2, 4],
      ],
      code: 'ATTN_SHAPE',
    },
    {
      shapes: [
        [2, 4],
        [2, 3],
        [4, 3],
      ],
      attrs: { gradDtype: 'int32' },
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [2, 4],
        [2, 3],
        [4, 3],
      ],
      dtypes: ['bfloat16', 'float16', 'float16'],
      code: 'ATTN_DTYPE',
    },
  ],
});
