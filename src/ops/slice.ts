/** A box of a tensor, every `steps`-th element of it. */
import { ArgumentError } from '../runtime/errors.js';
import { dtypes } from '../tensor/dtype.js';
import { type Shape, sizeOf, spec, stridesOf } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { cpuCopy, strided, viewOf } from './strided.js';

export interface SliceAttrs {
  /** First index of each axis; negative ones count from the end. Axes left out are taken whole, null: all. */
  starts: readonly number[] | null;
  /** Index after the last; null: the whole axes. Both clamp to the axis, as in NumPy. */
  ends: readonly number[] | null;
  /** Distance between elements taken, at least 1; null: 1. */
  steps: readonly number[] | null;
}

interface Range {
  start: number;
  step: number;
  size: number;
}

function rangesOf(shape: Shape, { starts, ends, steps }: SliceAttrs): Range[] {
  const op = 'slice';
  for (const [name, list] of Object.entries({ starts, ends, steps }))
    if (
      list !== null &&
      (!Array.isArray(list) || list.length > shape.length || !list.every(Number.isInteger))
    )
      throw new ArgumentError(`${name} [${list}] does not fit a tensor of rank ${shape.length}`, {
        op,
        hint: 'give one integer for each leading axis',
      });
  return shape.map((size, i) => {
    const clamp = (at: number) => Math.min(Math.max(at < 0 ? at + size : at, 0), size);
    const start = clamp(starts?.[i] ?? 0);
    const end = clamp(ends?.[i] ?? size);
    const step = steps?.[i] ?? 1;
    if (step < 1)
      throw new ArgumentError(`step ${step} of axis ${i} is not positive`, {
        op,
        hint: 'steps are integers from 1',
      });
    return { start, step, size: Math.max(0, Math.ceil((end - start) / step)) };
  });
}

function view({ inputs, attrs }: Problem<SliceAttrs>) {
  const strides = stridesOf(inputs[0]!.shape);
  const ranges = rangesOf(inputs[0]!.shape, attrs);
  return viewOf(
    ranges.map((r) => r.size),
    ranges.map((r, i) => r.step * strides[i]!),
    ranges.reduce((at, r, i) => at + r.start * strides[i]!, 0),
  );
}

/** x[starts : ends : steps], with NumPy's meaning of negative and large bounds. */
export const slice = defineOp<[x: Tensor]>()<SliceAttrs>({
  name: 'slice',
  doc: 'x[starts : ends : steps]',
  inputs: ['x'],
  attrs: { starts: [], ends: null, steps: null },
  dtypes,
  infer: ([x], attrs) => [
    spec(
      rangesOf(x!.shape, attrs).map((r) => r.size),
      x!.dtype,
    ),
  ],
  reference([x], { inputs, outputs, attrs }) {
    const ranges = rangesOf(inputs[0]!.shape, attrs);
    const from = stridesOf(inputs[0]!.shape);
    const to = stridesOf(outputs[0]!.shape);
    const y = new Float64Array(outputs[0]!.size);
    for (let e = 0; e < y.length; e++) {
      let at = 0;
      ranges.forEach((r, i) => {
        at += (r.start + r.step * (Math.floor(e / to[i]!) % r.size)) * from[i]!;
      });
      y[e] = x![at]!;
    }
    return [y];
  },
  cpu: (problem) => cpuCopy(problem, view(problem)),
  gpu: [strided(view)],
  cost: ({ outputs }) => ({ flops: 0, bytes: 2 * outputs[0]!.bytes, family: 'move' }),
  /** The gradient lies where the slice was taken, zeros around it and between its elements. */
  backward({ grads: [g], problem, F }) {
    const { shape } = problem.inputs[0]!;
    const ranges = rangesOf(shape, problem.attrs);
    const spread = [...problem.outputs[0]!.shape];
    let dx = g!;
    ranges.forEach(({ step, size, start }, i) => {
      if (step === 1 || size <= 1) return;
      const [outer, inner] = [sizeOf(spread.slice(0, i + 1)), sizeOf(spread.slice(i + 1))];
      dx = F.pad!(dx.reshape([outer, 1, inner]), { before: [], after: [0, step - 1] });
      spread[i]! *= step;
      dx = dx.reshape(spread);
      // The zeros behind the last element may lie beyond the end.
      const ends = spread.map((d, k) => (k === i ? Math.min(d, shape[i]! - start) : d));
      if (ends[i]! < spread[i]!) dx = F.slice!(dx, { ends });
      spread[i] = ends[i]!;
    });
    const before = ranges.map((r) => r.start);
    return [F.pad!(dx, { before, after: ranges.map((r, i) => shape[i]! - r.start - spread[i]!) })];
  },
  saves: {},
  samples: [
    { shapes: [[33, 65]], attrs: { starts: [1, 3], ends: [-2, 60] } },
    { shapes: [[]] },
    { shapes: [[7]], attrs: { starts: [2], ends: [5] } },
    { shapes: [[7]], attrs: { starts: [5], ends: [2] } },
    { shapes: [[7, 5]], attrs: { starts: [-100, -2], ends: [100, 100] } },
    { shapes: [[17, 9, 5]], attrs: { starts: [1, 0, 1], ends: [16, 9, 4], steps: [3, 2, 2] } },
    { shapes: [[9]], attrs: { starts: [1], ends: [8], steps: [2] } },
    { shapes: [[3, 9]], attrs: { starts: [0, 2], steps: [100, 3] } },
    { shapes: [[17, 9, 5]], attrs: { starts: [4] } },
    { shapes: [[64, 128]], attrs: { starts: [0, 64] } },
    { shapes: [[2, 3, 2, 3, 2, 3, 2, 3]], attrs: { starts: [0, 1, 0, 1, 0, 1, 0, 1] } },
    { shapes: [[0, 3]], attrs: { starts: [0, 1] } },
    { shapes: [[70003, 3]], attrs: { starts: [2, 1] }, heavy: true },
    { shapes: [[3, 140001]], attrs: { starts: [0, 1], steps: [1, 2] }, heavy: true },
  ],
  invalid: [
    { shapes: [[4]], attrs: { steps: [0] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { steps: [-1] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { starts: [0, 0] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { starts: [0.5] }, code: 'ATTN_ARGUMENT' },
    { shapes: [[4]], attrs: { ends: [Number.NaN] }, code: 'ATTN_ARGUMENT' },
  ],
});
