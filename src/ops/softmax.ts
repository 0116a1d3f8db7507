/** softmax along an axis, its logarithm, and logsumexp, all in float32. The CPU side is native/cpu/softmax.cc. */
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { normalizeAxis, type Shape, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type OpDefinition, type Problem, type Sample } from './define.js';
import { bytesOf } from './elementwise.js';
import { softmaxVariants } from './softmax.gpu.js';
import {
  eachLine,
  type Kind,
  kindCode,
  largeSample,
  lineSamples,
  linesOf,
  type SoftmaxAttrs,
} from './softmax.walk.js';

export type { SoftmaxAttrs };

export interface LogsumexpAttrs extends SoftmaxAttrs {
  keepDims: boolean;
}

/** Of each line: fn(line, at, max, sum of exp(x - max)). A maximum of -inf counts as 0. */
function eachSum(
  x: Float64Array,
  { inputs, attrs }: Problem<SoftmaxAttrs>,
  fn: (line: number, at: (k: number) => number, max: number, sum: number) => void,
): void {
  const lines = linesOf(inputs[0]!.shape, attrs);
  eachLine(lines, (line, at) => {
    let max = Number.NEGATIVE_INFINITY;
    for (let k = 0; k < lines.n; k++) max = Math.max(max, x[at(k)]!);
    if (max === Number.NEGATIVE_INFINITY) max = 0;
    let sum = 0;
    for (let k = 0; k < lines.n; k++) sum += Math.exp(x[at(k)]! - max);
    fn(line, at, max, sum);
  });
}

const samples: readonly Sample<SoftmaxAttrs>[] = [
  ...lineSamples(1),
  { shapes: [[9, 1025]], domains: [[-80, 80]] },
];

/** What the three share. */
const overLines = <A extends SoftmaxAttrs>(
  kind: Kind,
  doc: string,
  attrs: A,
  more: Pick<OpDefinition<A>, 'reference' | 'backward' | 'saves'> & Partial<OpDefinition<A>>,
) =>
  defineOp<[x: Tensor]>()<A>({
    name: kind,
    doc,
    inputs: ['x'],
    attrs,
    dtypes: floatDTypes,
    infer([x], { axis }) {
      normalizeAxis(axis, x!.rank, kind);
      return [spec(x!.shape, x!.dtype)];
    },
    cpu(problem) {
      const { outer, n, inner } = linesOf(problem.inputs[0]!.shape, problem.attrs);
      return {
        kernel: 'softmax',
        attrs: [kindCode[kind], dtypeCode[problem.inputs[0]!.dtype], outer, n, inner],
      };
    },
    gpu: softmaxVariants(kind),
    cost: (problem) => ({ flops: 8 * problem.inputs[0]!.size, bytes: bytesOf(problem), family: 'special' }),
    samples: samples as readonly Sample<A>[],
    invalid: [
      { shapes: [[2, 3]], attrs: { axis: 2 } as Partial<A>, code: 'ATTN_ARGUMENT' },
      { shapes: [[]], code: 'ATTN_ARGUMENT' },
    ],
    ...more,
  });

/** exp(x) / sum(exp(x)) along an axis, in float32. A line that is -inf throughout gives zeros, not NaN. */
export const softmax = overLines(
  'softmax',
  'exp(x) / sum(exp(x)) along an axis; a line that is -inf throughout gives 0',
  { axis: -1 },
  {
    reference([x], problem) {
      const y = new Float64Array(x!.length);
      const { n } = linesOf(problem.inputs[0]!.shape, problem.attrs);
      eachSum(x!, problem, (_, at, max, sum) => {
        for (let k = 0; k < n && sum !== 0; k++) y[at(k)] = Math.exp(x![at(k)]! - max) / sum;
      });
      return [y];
    },
    backward: ({ grads: [dy], outputs: [y], attrs, F }) => [F.softmaxBackward!(dy, y, attrs)],
    saves: { outputs: [0] },
    samples: [...samples, largeSample(1)],
  },
);

/** x - logsumexp(x) along an axis, in float32. A line that is -inf throughout stays so; its gradient is 0. */
export const logSoftmax = overLines(
  'log_softmax',
  'x - log(sum(exp(x))) along an axis; a line that is -inf throughout stays so',
  { axis: -1 },
  {
    reference([x], problem) {
      const y = new Float64Array(x!.length);
      const { n } = linesOf(problem.inputs[0]!.shape, problem.attrs);
      eachSum(x!, problem, (_, at, max, sum) => {
        for (let k = 0; k < n; k++) y[at(k)] = x![at(k)]! - max - (sum === 0 ? 0 : Math.log(sum));
      });
      return [y];
    },
    backward: ({ grads: [dy], outputs: [y], attrs, F }) => [F.logSoftmaxBackward!(dy, y, attrs)],
    saves: { outputs: [0] },
  },
);

const withoutAxis = (shape: Shape, axis: number, keepDims: boolean): Shape =>
  keepDims ? shape.map((d, i) => (i === axis ? 1 : d)) : shape.filter((_, i) => i !== axis);

/** log(sum(exp(x))) along an axis, in float32, without overflow; -inf where a line is that throughout, or empty. */
export const logsumexp = overLines<LogsumexpAttrs>(
  'logsumexp',
  'log(sum(exp(x))) along an axis; -inf of a line that is so throughout',
  { axis: -1, keepDims: false },
  {
    infer([x], { axis, keepDims }) {
      return [spec(withoutAxis(x!.shape, normalizeAxis(axis, x!.rank, 'logsumexp'), keepDims), x!.dtype)];
    },
    reference([x], problem) {
      const y = new Float64Array(problem.outputs[0]!.size);
      eachSum(x!, problem, (line, _, max, sum) => {
        y[line] = max === Number.POSITIVE_INFINITY ? max : max + Math.log(sum);
      });
      return [y];
    },
    /** dx = softmax(x) dy, which is 0 where a line is -inf throughout. */
    backward({ grads: [dy], inputs: [x], attrs: { axis }, problem, F }) {
      const { shape } = problem.inputs[0]!;
      const kept = dy!.reshape(withoutAxis(shape, normalizeAxis(axis, shape.length, 'logsumexp'), true));
      return [F.mul!(F.softmax!(x, { axis }), kept)];
    },
    saves: { inputs: [0] },
    samples: [
      ...(samples as readonly Sample<LogsumexpAttrs>[]),
      { shapes: [[4, 0]], attrs: { keepDims: true } },
      { shapes: [[5, 6, 7]], attrs: { axis: 1, keepDims: true } },
    ],
  },
);
