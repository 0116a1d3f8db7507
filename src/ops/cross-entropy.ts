/** Cross-entropy of logits and labels: softmax, logarithm and choice in one pass forward and one backward. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { type Spec, show, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { backwardVariants, forwardVariants } from './cross-entropy.gpu.js';
import { type CrossEntropyAttrs, reductions, rowsOf } from './cross-entropy.rows.js';
import { defineOp, type Problem, type Sample } from './define.js';

export type { CrossEntropyAttrs };

const attrs: CrossEntropyAttrs = { ignoreIndex: -100, labelSmoothing: 0, reduction: 'mean' };

/** Operands by name, for errors. */
type Operands = Readonly<Record<string, Spec>> & { logits: Spec; labels: Spec };

function refuse(op: string, what: string, operands: Operands, hint: string): never {
  const list = Object.entries(operands).map(([name, s]) => `${name} ${show(s.shape, s.dtype)}`);
  throw new ShapeError(`${what}: ${list.join(', ')}`, { op, hint });
}

function check(op: string, operands: Operands, a: CrossEntropyAttrs): void {
  const { logits, labels } = operands;
  if (logits.rank === 0 || labels.shape.join() !== logits.shape.slice(0, -1).join())
    refuse(op, 'labels are not one for each row of logits', operands, 'logits are [...labels, classes]');
  if (logits.shape.at(-1) === 0)
    refuse(op, 'logits have no classes', operands, 'the last axis needs at least one element');
  if (!(reductions as readonly string[]).includes(a.reduction))
    throw new ArgumentError(`reduction is '${a.reduction}'`, { op, hint: `use ${reductions.join(', ')}` });
  if (!(a.labelSmoothing >= 0 && a.labelSmoothing <= 1))
    throw new ArgumentError(`labelSmoothing is ${a.labelSmoothing}`, { op, hint: 'it lies between 0 and 1' });
  if (a.ignoreIndex !== (a.ignoreIndex | 0))
    throw new ArgumentError(`ignoreIndex is ${a.ignoreIndex}`, { op, hint: 'it is an int32' });
}

/** Natural logarithm of Σ exp(x) over a row. */
function logSumExp(row: Float64Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const v of row) max = Math.max(max, v);
  if (max === Number.NEGATIVE_INFINITY) return max;
  let sum = 0;
  for (const v of row) sum += Math.exp(v - max);
  return max + Math.log(sum);
}

const kernelAttrs = (logits: Spec, labels: Spec, a: CrossEntropyAttrs): number[] => [
  dtypeCode[logits.dtype],
  labels.size,
  logits.shape.at(-1)!,
  a.ignoreIndex,
  a.labelSmoothing,
  reductions.indexOf(a.reduction),
];

const samples: { shape: number[]; attrs?: Partial<CrossEntropyAttrs>; from?: number; heavy?: boolean }[] = [
  { shape: [33, 65] },
  { shape: [7, 5], attrs: { labelSmoothing: 0.1, ignoreIndex: 2 } },
  { shape: [5] },
  { shape: [1, 1], attrs: { reduction: 'sum' } },
  { shape: [0, 4] },
  { shape: [0, 4], attrs: { reduction: 'none' } },
  { shape: [3, 1], attrs: { ignoreIndex: 0 } }, // all ignored
  { shape: [3, 4, 17], attrs: { reduction: 'none', labelSmoothing: 0.3 } },
  { shape: [3, 4, 17], attrs: { reduction: 'none', ignoreIndex: -1 }, from: -1 },
  { shape: [6, 33], attrs: { reduction: 'sum', labelSmoothing: 1 } },
  { shape: [8, 64, 256] },
  { shape: [4, 130, 32], attrs: { ignoreIndex: -1 }, from: -1 },
  { shape: [2, 5001], attrs: { labelSmoothing: 0.1 } },
  { shape: [70001, 3], heavy: true },
  { shape: [70001, 8], attrs: { reduction: 'none' }, heavy: true },
  { shape: [3, 70001], heavy: true },
  { shape: [1100, 32768], heavy: true },
];

/**
 * Cross-entropy of logits [..., V] and labels [...] (int32), in float32 whatever the logits' dtype:
 * (1 - s) (lse - x[label]) + s (lse - mean(x)) for each row x, lse = log Σ exp(x), s = labelSmoothing; rows whose label
 * is ignoreIndex give 0 and no gradient. 'mean' divides by the number of the other rows: PyTorch's formula, but 0 and
 * not NaN where all are ignored. 'sum' is a scalar too, 'none' one loss a row. A label outside 0 … V - 1 raises
 * IndexError when the op runs.
 */
export const crossEntropy = defineOp<[logits: Tensor, labels: Tensor]>()<CrossEntropyAttrs>({
  name: 'cross_entropy',
  doc: '-log softmax(logits)[label], smoothed; mean, sum or none; 0 where all are ignored',
  inputs: ['logits', { name: 'labels', dtype: 'int32', domain: [0, 0] }],
  attrs,
  dtypes: floatDTypes,
  infer([logits, labels], a) {
    check('cross_entropy', { logits: logits!, labels: labels! }, a);
    return [
      spec(a.reduction === 'none' ? labels!.shape : [], 'float32'),
      spec([labels!.size], 'float32'), // lse of each row, 0 where ignored
      spec(a.reduction === 'mean' ? [] : [0], 'int32'), // rows that count
    ];
  },
  reference([logits, labels], { inputs, attrs: a }) {
    const n = inputs[0]!.shape.at(-1)!;
    const losses = new Float64Array(labels!.length);
    const lse = new Float64Array(labels!.length);
    let count = 0;
    labels!.forEach((label, r) => {
      if (label === a.ignoreIndex) return;
      const s = a.labelSmoothing;
      const row = logits!.subarray(r * n, (r + 1) * n);
      lse[r] = logSumExp(row);
      losses[r] = (1 - s) * (lse[r]! - row[label]!);
      if (s > 0) losses[r]! += s * (lse[r]! - row.reduce((sum, v) => sum + v, 0) / n);
      count++;
    });
    if (a.reduction === 'none') return [losses, lse, new Float64Array(0)];
    const sum = losses.reduce((x, y) => x + y, 0);
    if (a.reduction === 'sum') return [Float64Array.of(sum), lse, new Float64Array(0)];
    return [Float64Array.of(sum / Math.max(1, count)), lse, Float64Array.of(count)];
  },
  cpu: ({ inputs: [logits, labels], attrs: a }) => ({
    kernel: 'cross_entropy',
    attrs: kernelAttrs(logits!, labels!, a),
  }),
  gpu: forwardVariants,
  cost: ({ inputs }) => ({ flops: 6 * inputs[0]!.size, bytes: inputs[0]!.bytes, family: 'special' }),
  backward: ({ grads: [g], inputs: [logits, labels], outputs: [, lse, count], attrs: a, F }) => [
    F.crossEntropyBackward!(g, logits, labels, lse, count, a),
    null,
  ],
  saves: { inputs: [0, 1], outputs: [1, 2] },
  // The loss is float32 whatever the logits; a sum of rows adds their errors up like a random walk.
  tolerance: (problem) => (problem.attrs.reduction === 'sum' ? 1e-5 * Math.sqrt(rowsOf(problem).rows) : 1e-5),
  samples: samples.map(({ shape, attrs: a, from = 0, heavy }): Sample<CrossEntropyAttrs> => {
    const most = a?.ignoreIndex === 0 ? 0 : shape.at(-1)! - 1;
    return {
      shapes: [shape, shape.slice(0, -1)],
      ...(a && { attrs: a }),
      domains: [
        [-8, 8],
        [from, most],
      ],
      ...(heavy && { heavy }),
      ...(shape.at(-1) === 32768 && { dtypes: ['float32'] }),
    };
  }),
  invalid: [
    { shapes: [[2, 3], [3]], code: 'ATTN_SHAPE' },
    {
      shapes: [
        [2, 3],
        [2, 3],
      ],
      code: 'ATTN_SHAPE',
    },
    { shapes: [[], []], code: 'ATTN_SHAPE' },
    { shapes: [[2, 0], [2]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3], [2]], dtypes: ['float32', 'float32'], code: 'ATTN_DTYPE' },
    { shapes: [[2, 3], [2]], attrs: { labelSmoothing: -0.1 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3], [2]], attrs: { labelSmoothing: Number.NaN }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3], [2]], attrs: { ignoreIndex: 2 ** 31 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[2, 3], [2]], attrs: { reduction: 'max' as 'mean' }, code: 'ATTN_ARGUMENT' },
  ],
});

/** The gradient of a call of crossEntropy, with the sums and the count that it saved: (softmax - target) dloss / count. */
export const crossEntropyBackward = defineOp<
  [dloss: Tensor, logits: Tensor, labels: Tensor, lse: Tensor, count: Tensor]
>()<CrossEntropyAttrs>({
  name: 'cross_entropy_backward',
  doc: '(exp(logits - lse) - target) dloss / count',
  internal: true,
  inputs: [
    { name: 'dloss', dtype: 'float32' },
    'logits',
    { name: 'labels', dtype: 'int32', domain: [0, 0] },
    { name: 'lse', dtype: 'float32' },
    { name: 'count', dtype: 'int32', domain: [0, 9] },
  ],
  attrs,
  dtypes: floatDTypes,
  infer([dloss, logits, labels, lse, count], a) {
    const op = 'cross_entropy_backward';
    const operands = { dloss: dloss!, logits: logits!, labels: labels!, lse: lse!, count: count! };
    check(op, operands, a);
    const wanted = {
      dloss: a.reduction === 'none' ? labels!.shape : [],
      lse: [labels!.size],
      count: a.reduction === 'mean' ? [] : [0],
    };
    for (const [name, shape] of Object.entries(wanted))
      if (show(operands[name as keyof typeof wanted].shape) !== show(shape))
        refuse(
          op,
          `${name} is not ${show(shape)}`,
          operands,
          'it comes from crossEntropy with equal attributes',
        );
    return [logits!];
  },
  reference([dloss, logits, labels, lse, count], { inputs, attrs: a }) {
    const n = inputs[1]!.shape.at(-1)!;
    const dx = new Float64Array(logits!.length);
    labels!.forEach((label, r) => {
      if (label === a.ignoreIndex) return;
      const g = a.reduction === 'none' ? dloss![r]! : dloss![0]!;
      const share = a.reduction === 'mean' ? g / Math.max(1, count![0]!) : g;
      for (let v = 0; v < n; v++) {
        const target = (v === label ? 1 - a.labelSmoothing : 0) + a.labelSmoothing / n;
        dx[r * n + v] = (Math.exp(logits![r * n + v]! - lse![r]!) - target) * share;
      }
    });
    return [dx];
  },
  cpu: ({ inputs: [, logits, labels], attrs: a }: Problem<CrossEntropyAttrs>) => ({
    kernel: 'cross_entropy_backward',
    attrs: kernelAttrs(logits!, labels!, a),
  }),
  gpu: backwardVariants,
  cost: ({ inputs }) => ({ flops: 8 * inputs[1]!.size, bytes: 2 * inputs[1]!.bytes, family: 'special' }),
  samples: samples.flatMap(({ shape, attrs: a, from = 0, heavy }): Sample<CrossEntropyAttrs>[] => {
    if (shape.at(-1) === 32768) return []; // for the forward's windows
    const labels = shape.slice(0, -1);
    const rows = labels.reduce((x, y) => x * y, 1);
    const reduction = a?.reduction ?? 'mean';
    return [
      {
        shapes: [reduction === 'none' ? labels : [], shape, labels, [rows], reduction === 'mean' ? [] : [0]],
        ...(a && { attrs: a }),
        // As they are in use: exp(x - lse) is at most 1.
        domains: [
          [-2, 2],
          [-8, 0],
          [from, a?.ignoreIndex === 0 ? 0 : shape.at(-1)! - 1],
          [0, 3],
          [1, 9],
        ],
        ...(heavy && { heavy }),
      },
    ];
  }),
  invalid: [
    { shapes: [[], [2, 3], [3], [2], []], code: 'ATTN_SHAPE' },
    { shapes: [[], [2, 3], [2], [3], []], code: 'ATTN_SHAPE' },
    { shapes: [[2], [2, 3], [2], [2], []], code: 'ATTN_SHAPE' },
    { shapes: [[], [2, 3], [2], [2], [0]], code: 'ATTN_SHAPE' },
    { shapes: [[], [2, 3], [2], [2], []], attrs: { labelSmoothing: 2 }, code: 'ATTN_ARGUMENT' },
  ],
});
