/** Gated activation: silu(a) b, of two tensors or of the halves of one, and its gradient. */
import { ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, show, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem, type Sample } from './define.js';
import { bytesOf } from './elementwise.js';
import { mapGroup, overBinding, wordsOf } from './launch.js';

/** Rows of a and b that lie one behind the other; one row where they are tensors of their own. */
function rowsOf(a: Spec, b: Spec | undefined, op: string): { rows: number; width: number } {
  if (b) {
    if (show(a.shape) !== show(b.shape))
      throw new ShapeError(`a ${show(a.shape)} and b ${show(b.shape)} differ in shape`, {
        op,
        hint: 'expand the smaller one',
      });
    return { rows: 1, width: a.size };
  }
  const last = a.shape.at(-1);
  if (last === undefined || last % 2 !== 0)
    throw new ShapeError(`a ${show(a.shape)} has no two halves`, {
      op,
      hint: 'its last axis holds a and then b, both of the same size',
    });
  return { rows: sizeOf(a.shape.slice(0, -1)), width: last / 2 };
}

const halved = (shape: Shape): number[] => [...shape.slice(0, -1), shape.at(-1)! / 2];

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** shaders/swiglu.comp: an invocation to a word of the first output, `back` for the gradient. */
const simple = (back: boolean): GpuVariant<object> => ({
  name: 'simple',
  admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
  plan(problem, caps) {
    const { inputs, outputs } = problem;
    const [a, b] = inputs.slice(back ? 1 : 0);
    const { rows, width } = rowsOf(a!, b, 'swiglu');
    const out = outputs[0]!;
    const words = wordsOf(out);
    if (words === 0) return { dispatches: [] };
    const group = mapGroup(caps);
    const first = back ? 1 : 0;
    const gradients = b ? [inputs.length, inputs.length + 1] : [inputs.length, inputs.length];
    return {
      dispatches: [
        {
          shader: 'swiglu',
          spec: [group, dtypeCode[out.dtype], Number(!b), Number(back)],
          push: [out.size, width, rows],
          groups: Math.ceil(words / group),
          binds: [
            { operand: first },
            { operand: b ? first + 1 : first },
            { operand: 0 },
            ...(back ? gradients : [inputs.length, inputs.length]).map((operand) => ({
              operand,
              write: true,
            })),
          ],
        },
      ],
    };
  },
});

const attrsOf = ({ inputs }: Problem<object>, first: number, op: string): number[] => {
  const { rows, width } = rowsOf(inputs[first]!, inputs[first + 1], op);
  return [dtypeCode[inputs[0]!.dtype], rows, width, Number(inputs.length === first + 1)];
};

/** a and b at element `at` of the result: where they lie in their arrays. */
function halvesOf(inputs: readonly Float64Array[], first: number, width: number) {
  const [a, b] = inputs.slice(first) as [Float64Array, Float64Array?];
  return (at: number): [number, number] => {
    if (b) return [a[at]!, b[at]!];
    const start = Math.floor(at / width) * 2 * width + (at % width);
    return [a[start]!, a[start + width]!];
  };
}

const shapes: Sample<object>[] = [
  {
    shapes: [
      [129, 65],
      [129, 65],
    ],
  },
  { shapes: [[], []] },
  { shapes: [[0], [0]] },
  { shapes: [[37], [37]] },
  { shapes: [[5, 130]] },
  { shapes: [[3, 7, 10]] },
  { shapes: [[9, 2]] },
  { shapes: [[0, 8]] },
  { shapes: [[8]] },
  { shapes: [[64, 512]] },
  { shapes: [[33, 6]], domains: [[-90, 90]], dtypes: ['float32', 'bfloat16'] },
  { shapes: [[70000, 6]], heavy: true },
];

/** Samples of the gradient: dy before the inputs. */
const withResult = (sample: Sample<object>): Sample<object> => {
  const [a, b] = sample.shapes;
  return {
    ...sample,
    shapes: [b ? a! : halved(a!), ...sample.shapes],
    ...(sample.domains ? { domains: [[-1, 1], ...sample.domains] } : {}),
  };
};

/**
 * silu(a) b; or, of one tensor [..., 2F], the same of its halves along the last axis, so that one product can make
 * both.
 */
export const swiglu = defineOp<[a: Tensor, b?: Tensor]>()({
  name: 'swiglu',
  doc: 'silu(a) b, of two tensors or of the halves of one',
  inputs: ['a', 'b'],
  optional: 1,
  attrs: {},
  dtypes: floatDTypes,
  infer([a, b]) {
    rowsOf(a!, b, 'swiglu');
    return [spec(b ? a!.shape : halved(a!.shape), a!.dtype)];
  },
  reference(inputs, problem) {
    const { width } = rowsOf(problem.inputs[0]!, problem.inputs[1], 'swiglu');
    const at = halvesOf(inputs, 0, width);
    return [
      new Float64Array(problem.outputs[0]!.size).map((_, i) => {
        const [a, b] = at(i);
        return a * sigmoid(a) * b;
      }),
    ];
  },
  cpu: (problem) => ({ kernel: 'swiglu', attrs: attrsOf(problem, 0, 'swiglu') }),
  gpu: [simple(false)],
  cost: (problem) => ({
    flops: 14 * problem.outputs[0]!.size,
    bytes: bytesOf(problem),
    family: 'special',
  }),
  backward({ grads: [g], inputs: [a, b], F }) {
    const [da, db] = F.swigluBackward!(g, ...(b ? [a, b] : [a])) as unknown as [typeof a, typeof b];
    return b ? [da!, db!] : [da!];
  },
  saves: { inputs: [0, 1] },
  recompute: { can: () => true, run: ({ inputs, F }) => F.swiglu!(...inputs) },
  samples: shapes,
  invalid: [
    { shapes: [[2, 3], [3]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3]], code: 'ATTN_SHAPE' },
    { shapes: [[]], code: 'ATTN_SHAPE' },
    { shapes: [[2], [2]], dtypes: ['int32'], code: 'ATTN_DTYPE' },
  ],
});

/** With s = sigmoid(a): da = dy b s (1 + a (1 - s)), db = dy a s; packed as a and b are, and then db has shape [0]. */
export const swigluBackward = defineOp<[dy: Tensor, a: Tensor, b?: Tensor], [Tensor, Tensor]>()({
  name: 'swiglu_backward',
  doc: 'dy b silu′(a), dy silu(a)',
  internal: true,
  inputs: ['dy', 'a', 'b'],
  optional: 1,
  results: 2,
  attrs: {},
  dtypes: floatDTypes,
  infer([dy, a, b]) {
    const op = 'swiglu_backward';
    rowsOf(a!, b, op);
    const shape = b ? a!.shape : halved(a!.shape);
    if (show(dy!.shape) !== show(shape))
      throw new ShapeError(`dy ${show(dy!.shape)} is not of the result's shape ${show(shape)}`, {
        op,
        hint: 'dy has the shape of what swiglu gave',
      });
    return [a!, b ?? spec([0], a!.dtype)];
  },
  reference(inputs, problem) {
    const { width } = rowsOf(problem.inputs[1]!, problem.inputs[2], 'swiglu_backward');
    const at = halvesOf(inputs, 1, width);
    const packed = problem.inputs.length === 2;
    const da = new Float64Array(problem.outputs[0]!.size);
    const db = packed ? da.subarray(width) : new Float64Array(problem.outputs[1]!.size);
    inputs[0]!.forEach((g, i) => {
      const [a, b] = at(i);
      const s = sigmoid(a);
      const to = packed ? i + Math.floor(i / width) * width : i;
      da[to] = g * b * s * (1 + a * (1 - s));
      db[to] = g * a * s;
    });
    return [da, packed ? new Float64Array(0) : db];
  },
  cpu: (problem) => ({ kernel: 'swiglu_backward', attrs: attrsOf(problem, 1, 'swiglu_backward') }),
  gpu: [simple(true)],
  cost: (problem) => ({
    flops: 20 * problem.inputs[0]!.size,
    bytes: bytesOf(problem),
    family: 'special',
  }),
  samples: shapes.map(withResult),
  invalid: [
    { shapes: [[3], [2, 3], [2, 3]], code: 'ATTN_SHAPE' },
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      code: 'ATTN_SHAPE',
    },
  ],
});
