/** Gradients of softmax and of its logarithm, from dy and the result y. The CPU side is native/cpu/softmax_backward.cc. */
import { ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { normalizeAxis, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp } from './define.js';
import { bytesOf } from './elementwise.js';
import { softmaxVariants } from './softmax.gpu.js';
import { eachLine, type Kind, largeSample, lineSamples, linesOf, type SoftmaxAttrs } from './softmax.walk.js';

const gradient = (
  kind: Kind,
  logs: boolean,
  doc: string,
  /** Values that y may have. */
  domain: readonly [number, number],
  /** The gradient of a line of n. */
  line: (dy: Float64Array, y: Float64Array) => Float64Array,
) =>
  defineOp<[dy: Tensor, y: Tensor]>()<SoftmaxAttrs>({
    name: kind,
    doc,
    inputs: ['dy', { name: 'y', domain }],
    internal: true,
    attrs: { axis: -1 },
    dtypes: floatDTypes,
    infer([dy, y], { axis }) {
      normalizeAxis(axis, y!.rank, kind);
      if (show(dy!.shape) !== show(y!.shape))
        throw new ShapeError(`dy is ${show(dy!.shape)} but y is ${show(y!.shape)}`, {
          op: kind,
          hint: 'the gradient of a tensor has its shape',
        });
      return [spec(y!.shape, y!.dtype)];
    },
    reference([dy, y], { inputs, attrs }) {
      const dx = new Float64Array(y!.length);
      const lines = linesOf(inputs[1]!.shape, attrs);
      eachLine(lines, (_, at) => {
        const gather = (from: Float64Array) => Float64Array.from({ length: lines.n }, (_, k) => from[at(k)]!);
        line(gather(dy!), gather(y!)).forEach((v, k) => {
          dx[at(k)] = v;
        });
      });
      return [dx];
    },
    cpu({ inputs: [, y], attrs }) {
      const { outer, n, inner } = linesOf(y!.shape, attrs);
      return { kernel: 'softmax_backward', attrs: [logs ? 1 : 0, dtypeCode[y!.dtype], outer, n, inner] };
    },
    gpu: softmaxVariants(kind),
    cost: (problem) => ({
      flops: (logs ? 10 : 4) * problem.inputs[1]!.size,
      bytes: bytesOf(problem),
      family: logs ? 'special' : 'reduce',
    }),
    samples: [...lineSamples<SoftmaxAttrs>(2), ...(logs ? [] : [largeSample<SoftmaxAttrs>(2)])],
    // A line's sum cancels while its rounding errors add up like a random walk.
    tolerance: ({ inputs, attrs }) => Math.max(1e-5, 2e-6 * Math.sqrt(linesOf(inputs[1]!.shape, attrs).n)),
    invalid: [
      { shapes: [[2, 3], [3]], code: 'ATTN_SHAPE' },
      {
        shapes: [
          [2, 3],
          [2, 3],
        ],
        attrs: { axis: 2 },
        code: 'ATTN_ARGUMENT',
      },
    ],
  });

const sum = (values: Float64Array) => values.reduce((s, v) => s + v, 0);

/** dx = y (dy - sum(dy y)). */
export const softmaxBackward = gradient(
  'softmax_backward',
  false,
  'y (dy - sum(dy y)) along an axis',
  [0, 1],
  (dy, y) => {
    const total = sum(dy.map((g, k) => g * y[k]!));
    return dy.map((g, k) => y[k]! * (g - total));
  },
);

/** dx = dy - exp(y) sum(dy); 0 where a line is -inf throughout. */
export const logSoftmaxBackward = gradient(
  'log_softmax_backward',
  true,
  'dy - exp(y) sum(dy) along an axis',
  [-6, 0],
  (dy, y) => {
    const total = sum(dy);
    const dead = y.every((v) => v === Number.NEGATIVE_INFINITY);
    return dy.map((g, k) => (dead ? 0 : g - Math.exp(y[k]!) * total));
  },
);
