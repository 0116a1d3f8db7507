/**
 * Decompositions and the exponential of float32 matrices [..., M, N], in float64 on the CPU, rounded at the end:
 * native/cpu/linalg.cc. Results are unique: signs are fixed, so both sides of a test and two runs agree.
 */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type Shape, type Spec, show, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { type BackwardContext, defineOp, type OpDefinition, type Problem, type Value } from './define.js';
import * as oracle from './linalg.reference.js';

type None = Record<never, never>;

/** The batch and the last two axes of the first input. */
function frameOf({ inputs }: Pick<Problem, 'inputs'>) {
  const { shape } = inputs[0]!;
  const [m, n] = shape.slice(-2) as [number, number];
  return { lead: shape.slice(0, -2), batch: sizeOf(shape.slice(0, -2)), m, n, k: Math.min(m, n) };
}

function demandMatrix(op: string, x: Spec, square = false): void {
  const [m, n] = x.shape.slice(-2);
  if (x.rank < 2 || (square && m !== n))
    throw new ShapeError(`x is ${show(x.shape)}`, {
      op,
      hint: square ? 'give square matrices [..., N, N]' : 'give matrices [..., M, N]',
    });
}

/** Runs a reference on each matrix of the batch: lists of rows in, rows (or a vector) out. */
function eachMatrix(
  inputs: readonly Float64Array[],
  problem: Problem,
  apply: (...matrices: oracle.Matrix[]) => (oracle.Matrix | number[])[],
): Float64Array[] {
  const { batch } = frameOf(problem);
  const outputs = problem.outputs.map((s) => new Float64Array(s.size));
  for (let z = 0; z < batch; z++) {
    const matrices = problem.inputs.map((s, i) => {
      const perMatrix = s.size / batch;
      const columns = s.rank === problem.inputs[0]!.rank ? s.shape.at(-1)! : 1;
      return oracle.make(
        columns === 0 ? s.shape.at(-2)! : perMatrix / columns,
        columns,
        (r, c) => inputs[i]![z * perMatrix + r * columns + c]!,
      );
    });
    apply(...matrices).forEach((rows, i) => {
      const values = rows.flat();
      outputs[i]!.set(values, z * values.length);
    });
  }
  return outputs;
}

/** What these ops have in common. `flops` are those of one matrix. */
const common = (
  kernel: string,
  flops: (frame: ReturnType<typeof frameOf>) => number,
): Pick<OpDefinition<None>, 'name' | 'attrs' | 'dtypes' | 'gpu' | 'cpu' | 'cost'> => ({
  name: kernel,
  attrs: {},
  dtypes: ['float32'],
  gpu: [], // float64 is the CPU's
  cpu(problem) {
    const { batch, m, n } = frameOf(problem);
    return { kernel, attrs: [batch, m, n] };
  },
  cost(problem) {
    const bytes = [...problem.inputs, ...problem.outputs].reduce((sum, s) => sum + s.bytes, 0);
    const frame = frameOf(problem);
    return { flops: frame.batch * flops(frame), bytes, family: 'gemm' };
  },
});

/** Gradients of the results; zeros for those that the loss does not depend on. */
const allGrads = ({ grads, problem, F }: BackwardContext<None>): Value[] =>
  problem.outputs.map((s, i) => grads[i] ?? F.fill!({ shape: s.shape, value: 0, dtype: s.dtype }));

const square: readonly Shape[] = [
  [5, 5],
  [1, 1],
  [2, 2],
  [0, 0],
  [0, 3, 3],
  [3, 4, 4],
  [2, 1, 3, 3],
  [13, 13],
];
const tall: readonly Shape[] = [
  [7, 4],
  [5, 1],
  [3, 0],
  [2, 9, 5],
  [17, 11],
];
const wide: readonly Shape[] = [
  [4, 7],
  [1, 5],
  [0, 3],
  [2, 3, 6],
  [11, 17],
];
const many: Shape = [5000, 2, 2];
const onX = (shapes: readonly Shape[], ...heavy: Shape[]) => [
  ...shapes.map((shape) => ({ shapes: [shape] })),
  ...heavy.map((shape) => ({ shapes: [shape], heavy: true })),
];
const notMatrices = [
  { shapes: [[4]], code: 'ATTN_SHAPE' },
  { shapes: [[]], code: 'ATTN_SHAPE' },
  { shapes: [[3, 3]], dtypes: ['bfloat16' as const], code: 'ATTN_DTYPE' },
];
const notSquare = [...notMatrices, { shapes: [[2, 3]], code: 'ATTN_SHAPE' }];

/** A gradient op takes x and gradients of the shapes that the results have. */
function demandGrads(
  op: string,
  inputs: readonly Spec[],
  square: boolean,
  shapesOf: (x: Spec) => Shape[],
): void {
  const [x, ...grads] = inputs;
  const [m, n] = x!.shape.slice(-2);
  const matrix = x!.rank >= 2 && (!square || m === n);
  if (matrix && grads.every((g, i) => show(g.shape) === show(shapesOf(x!)[i]!))) return;
  throw new ShapeError(
    `x ${show(x!.shape)} and the gradients ${grads.map((g) => show(g.shape)).join(', ')} do not fit`,
    { op, hint: `give gradients of the shapes that ${op.replace('_backward', '')}(x) has` },
  );
}

// ---------------------------------------------------------------- svd

const svdShapes = (x: Spec): [Shape, Shape, Shape] => {
  const { lead, m, n, k } = frameOf({ inputs: [x] });
  return [
    [...lead, m, k],
    [...lead, k],
    [...lead, k, n],
  ];
};
const svdFlops = ({ m, n, k }: { m: number; n: number; k: number }) =>
  14 * Math.max(m, n) * k * k + 8 * k ** 3;

/**
 * x = u diag(s) vt for matrices [..., M, N], economy size: u [..., M, K], s [..., K] descending, vt [..., K, N] with
 * K = min(M, N). The largest component of each column of u is positive. Its gradient wants distinct singular values.
 */
export const svd = defineOp<[x: Tensor], [u: Tensor, s: Tensor, vt: Tensor]>()({
  ...common('svd', svdFlops),
  doc: 'u, s, vt: x = u diag(s) vt, economy size, s descending; in float64 on the CPU',
  inputs: ['x'],
  results: 3,
  infer([x]) {
    demandMatrix('svd', x!);
    return svdShapes(x!).map((shape) => spec(shape, 'float32'));
  },
  reference(inputs, problem) {
    const { m, n, k } = frameOf(problem);
    return eachMatrix(inputs, problem, (x) => {
      const { u, s, v } = oracle.svd(x, m, n);
      return [u, s, oracle.make(k, n, (i, j) => v[j]![i]!)];
    });
  },
  backward: (context) => [context.F.svdBackward!(context.inputs[0]!, ...allGrads(context))],
  saves: { inputs: [0] },
  samples: onX([...square, ...tall, ...wide], many),
  invalid: notMatrices,
});

const withSvdGrads = (x: Shape) => ({ shapes: [x, ...svdShapes(spec(x, 'float32'))] });

export const svdBackward = defineOp<[x: Tensor, gu: Tensor, gs: Tensor, gvt: Tensor]>()({
  ...common('svd_backward', (f) => svdFlops(f) + 12 * f.m * f.n * f.k),
  doc: 'gradient of svd',
  internal: true,
  inputs: ['x', 'gu', 'gs', 'gvt'],
  infer(inputs) {
    demandGrads('svd_backward', inputs, false, svdShapes);
    return [spec(inputs[0]!.shape, 'float32')];
  },
  reference(inputs, problem) {
    const { m, n } = frameOf(problem);
    return eachMatrix(inputs, problem, (x, gu, gs, gvt) => [
      oracle.svdBackward(x!, m, n, gu!, gs!.flat(), gvt!),
    ]);
  },
  samples: [...square, ...tall, ...wide].map(withSvdGrads),
  invalid: [
    { shapes: [[4], [4], [4], [4]], code: 'ATTN_SHAPE' },
    { shapes: [[4, 3], [4, 3], [4], [3, 3]], code: 'ATTN_SHAPE' },
  ],
});

// ---------------------------------------------------------------- eigh

const eighShapes = (x: Spec): [Shape, Shape] => [x.shape.slice(0, -1), x.shape];

/**
 * Eigenvalues [..., N], ascending, and eigenvectors [..., N, N] (columns) of symmetric matrices; of others, of their
 * symmetric part (x + xᵀ) / 2. The largest component of each vector is positive. The gradient through the vectors
 * wants distinct values.
 */
export const eigh = defineOp<[x: Tensor], [values: Tensor, vectors: Tensor]>()({
  ...common('eigh', ({ n }) => 9 * n ** 3),
  doc: 'values, vectors: (x + xᵀ) / 2 = vectors diag(values) vectorsᵀ, values ascending; in float64 on the CPU',
  inputs: ['x'],
  results: 2,
  infer([x]) {
    demandMatrix('eigh', x!, true);
    return eighShapes(x!).map((shape) => spec(shape, 'float32'));
  },
  reference: (inputs, problem) =>
    eachMatrix(inputs, problem, (x) => {
      const { values, vectors } = oracle.eigh(x!);
      return [values, vectors];
    }),
  backward: (context) => [context.F.eighBackward!(context.inputs[0]!, ...allGrads(context))],
  saves: { inputs: [0] },
  samples: onX(square, many),
  invalid: notSquare,
});

export const eighBackward = defineOp<[x: Tensor, gValues: Tensor, gVectors: Tensor]>()({
  ...common('eigh_backward', ({ n }) => 15 * n ** 3),
  doc: 'gradient of eigh',
  internal: true,
  inputs: ['x', 'gValues', 'gVectors'],
  infer(inputs) {
    demandGrads('eigh_backward', inputs, true, eighShapes);
    return [spec(inputs[0]!.shape, 'float32')];
  },
  reference: (inputs, problem) =>
    eachMatrix(inputs, problem, (x, gValues, gVectors) => [
      oracle.eighBackward(x!, gValues!.flat(), gVectors!),
    ]),
  samples: square.map((x) => ({ shapes: [x, ...eighShapes(spec(x, 'float32'))] })),
  invalid: [
    { shapes: [[3, 2], [3], [3, 2]], code: 'ATTN_SHAPE' },
    { shapes: [[3, 3], [2], [3, 3]], code: 'ATTN_SHAPE' },
  ],
});

// ---------------------------------------------------------------- qr

const qrShapes = (x: Spec): [Shape, Shape] => {
  const { lead, m, n, k } = frameOf({ inputs: [x] });
  return [
    [...lead, m, k],
    [...lead, k, n],
  ];
};
function demandTall(op: string, x: Spec): void {
  const { m, n } = frameOf({ inputs: [x] });
  if (m < n)
    throw new ArgumentError(`no gradient through qr of ${show(x.shape)}: it is wider than tall`, {
      op,
      hint: 'decompose its first M columns',
    });
}
const qrFlops = ({ m, n, k }: { m: number; n: number; k: number }) => 4 * m * n * k;

/**
 * x = q r for matrices [..., M, N], economy size: q [..., M, K] with orthonormal columns, r [..., K, N] upper
 * triangular with a diagonal that is not negative, K = min(M, N). Its gradient wants M >= N and independent columns.
 */
export const qr = defineOp<[x: Tensor], [q: Tensor, r: Tensor]>()({
  ...common('qr', qrFlops),
  doc: 'q, r: x = q r, economy size, the diagonal of r >= 0; in float64 on the CPU',
  inputs: ['x'],
  results: 2,
  infer([x]) {
    demandMatrix('qr', x!);
    return qrShapes(x!).map((shape) => spec(shape, 'float32'));
  },
  reference(inputs, problem) {
    const { m, n } = frameOf(problem);
    return eachMatrix(inputs, problem, (x) => {
      const { q, r } = oracle.qr(x!, m, n);
      return [q, r];
    });
  },
  backward(context) {
    demandTall('qr', context.problem.inputs[0]!);
    return [context.F.qrBackward!(context.inputs[0]!, ...allGrads(context))];
  },
  saves: { inputs: [0] },
  samples: onX([...square, ...tall, ...wide], many),
  invalid: notMatrices,
});

export const qrBackward = defineOp<[x: Tensor, gq: Tensor, gr: Tensor]>()({
  ...common('qr_backward', (f) => qrFlops(f) + 5 * f.m * f.n * f.n),
  doc: 'gradient of qr',
  internal: true,
  inputs: ['x', 'gq', 'gr'],
  infer(inputs) {
    demandGrads('qr_backward', inputs, false, qrShapes);
    demandTall('qr_backward', inputs[0]!);
    return [spec(inputs[0]!.shape, 'float32')];
  },
  reference(inputs, problem) {
    const { m, n } = frameOf(problem);
    return eachMatrix(inputs, problem, (x, gq, gr) => [oracle.qrBackward(x!, m, n, gq!, gr!)]);
  },
  samples: [...square, ...tall].map((x) => ({ shapes: [x, ...qrShapes(spec(x, 'float32'))] })),
  invalid: [
    {
      shapes: [
        [2, 3],
        [2, 2],
        [2, 3],
      ],
      code: 'ATTN_ARGUMENT',
    },
    {
      shapes: [
        [3, 2],
        [3, 3],
        [2, 2],
      ],
      code: 'ATTN_SHAPE',
    },
  ],
});

// ---------------------------------------------------------------- expm

/** The exponential of square matrices [..., N, N]: 1 + x + x²/2 + x³/6 + … */
export const expm = defineOp<[x: Tensor]>()({
  ...common('expm', ({ n }) => 30 * n ** 3),
  doc: 'the exponential of a square matrix, 1 + x + x²/2 + …; in float64 on the CPU',
  inputs: ['x'],
  infer([x]) {
    demandMatrix('expm', x!, true);
    return [spec(x!.shape, 'float32')];
  },
  reference: (inputs, problem) => eachMatrix(inputs, problem, (x) => [oracle.expm(x!)]),
  /** The derivative along g at xᵀ is the upper right block of exp([[xᵀ, g], [0, xᵀ]]) (Mathias 1996). */
  backward({ grads, inputs: [x], F }) {
    const g = grads[0]!;
    const { n } = frameOf({ inputs: [spec(x!.shape, x!.dtype)] });
    const order = x!.shape.map((_, i) => i);
    const xt = F.permute!(x!, { axes: [...order.slice(0, -2), x!.rank - 1, x!.rank - 2] });
    const zero = F.fill!({ shape: x!.shape, value: 0, dtype: x!.dtype });
    const joined = F.concat!([F.concat!([xt, g], { axis: -1 }), F.concat!([zero, xt], { axis: -1 })], {
      axis: -2,
    });
    const lead = x!.shape.slice(0, -2);
    return [
      F.slice!(F.expm!(joined), {
        starts: [...lead.map(() => 0), 0, n],
        ends: [...lead, n, 2 * n],
      }),
    ];
  },
  saves: { inputs: [0] },
  samples: [
    ...onX(square, many),
    { shapes: [[6, 6]], domains: [[-1e-3, 1e-3]] },
    { shapes: [[4, 4]], domains: [[-20, 20]] },
  ],
  invalid: notSquare,
});
