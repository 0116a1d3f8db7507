/** Tensors one after the other along an axis: rows of the output are the rows of each in turn. */
import type { Dispatch } from '../runtime/binding.js';
import { ShapeError } from '../runtime/errors.js';
import { dtypeBytes, dtypeCode, dtypes, perWord } from '../tensor/dtype.js';
import { normalizeAxis, type Spec, show, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type Problem } from './define.js';
import { loneGroup, overBinding, wordsOf } from './launch.js';

export interface ConcatAttrs {
  axis: number;
}

/** Rows, and the elements that each input gives to a row. */
function rowsOf(inputs: readonly Spec[], attrs: ConcatAttrs): { rows: number; runs: number[] } {
  const axis = normalizeAxis(attrs.axis, inputs[0]!.rank, 'concat');
  return {
    rows: sizeOf(inputs[0]!.shape.slice(0, axis)),
    runs: inputs.map((x) => sizeOf(x.shape.slice(axis))),
  };
}

/** Inputs that one launch of shaders/concat.comp takes, beside its output. */
const PIECES = 7;

function launches(problem: Problem<ConcatAttrs>, group: number): Dispatch[] {
  const y = problem.outputs[0]!;
  const { rows, runs: elements } = rowsOf(problem.inputs, problem.attrs);
  // Where every run is whole vectors of 16 bytes, those are what is counted.
  const vector = 4 * perWord(y.dtype);
  const whole = elements.every((run) => run % vector === 0);
  const runs = whole ? elements.map((run) => run / vector) : elements;
  const total = runs.reduce((a, b) => a + b, 0);
  const words = whole ? rows * total : wordsOf(y);
  const live = runs.map((run, operand) => ({ run, operand })).filter((p) => p.run > 0);
  const out: Dispatch[] = [];
  let first = 0;
  for (let i = 0; i < live.length && words > 0; i += PIECES) {
    const pieces = live.slice(i, i + PIECES);
    const ends = pieces.map(
      (
        (at) => (p) =>
          (at += p.run)
      )(first),
    );
    while (ends.length < PIECES) ends.push(ends[ends.length - 1]!);
    out.push({
      shader: 'concat',
      spec: [group, dtypeCode[y.dtype], whole ? 1 : 0],
      push: [words, y.size, total, first, ...ends],
      groups: Math.ceil(words / group),
      binds: [
        ...Array.from({ length: PIECES }, (_, k) => ({
          operand: (pieces[k] ?? pieces[0]!).operand,
          write: false,
        })),
        { operand: problem.inputs.length, write: true },
      ],
    });
    first = ends[PIECES - 1]!;
  }
  return out;
}

/** Joins tensors that agree on every other axis: `concat([a, b], { axis: 1 })`. */
export const concat = defineOp<[tensors: readonly Tensor[]]>()<ConcatAttrs>({
  name: 'concat',
  doc: 'tensors one after the other along an axis',
  inputs: ['x'],
  variadic: true,
  autocast: 'widest',
  attrs: { axis: 0 },
  dtypes,
  infer(inputs, attrs) {
    const [x] = inputs;
    const axis = normalizeAxis(attrs.axis, x!.rank, 'concat');
    let along = 0;
    inputs.forEach((other, i) => {
      if (other.rank !== x!.rank || other.shape.some((d, k) => k !== axis && d !== x!.shape[k]))
        throw new ShapeError(
          `tensor ${i} is ${show(other.shape)} but tensor 0 is ${show(x!.shape)}: only axis ${axis} may differ`,
          { op: 'concat', hint: 'join along another axis, or reshape, slice or pad first' },
        );
      along += other.shape[axis]!;
    });
    return [
      spec(
        x!.shape.map((d, k) => (k === axis ? along : d)),
        x!.dtype,
      ),
    ];
  },
  reference(xs, { inputs, outputs, attrs }) {
    const { rows, runs } = rowsOf(inputs, attrs);
    const y = new Float64Array(outputs[0]!.size);
    let at = 0;
    for (let r = 0; r < rows; r++)
      xs.forEach((x, i) => {
        y.set(x.subarray(r * runs[i]!, (r + 1) * runs[i]!), at);
        at += runs[i]!;
      });
    return [y];
  },
  cpu({ inputs, attrs }) {
    const { rows, runs } = rowsOf(inputs, attrs);
    const bytes = dtypeBytes[inputs[0]!.dtype];
    return { kernel: 'concat', attrs: [rows, runs.length, ...runs.map((run) => run * bytes)] };
  },
  gpu: [
    {
      name: 'simple',
      admits: (problem, caps) =>
        caps.maxBindings < PIECES + 1
          ? `needs ${PIECES + 1} bindings`
          : overBinding([...problem.inputs, ...problem.outputs], caps),
      plan: (problem, caps) => ({ dispatches: launches(problem, loneGroup(caps)) }),
    },
  ],
  cost: ({ outputs }) => ({ flops: 0, bytes: 2 * outputs[0]!.bytes, family: 'move' }),
  backward({ grads: [g], problem, F }) {
    const axis = normalizeAxis(problem.attrs.axis, g!.rank, 'concat');
    let at = 0;
    return problem.inputs.map((x) => {
      const starts = g!.shape.map((_, k) => (k === axis ? at : 0));
      at += x.shape[axis]!;
      return F.slice!(g, { starts, ends: g!.shape.map((d, k) => (k === axis ? at : d)) });
    });
  },
  saves: {},
  samples: [
    {
      shapes: [
        [33, 5],
        [33, 8],
        [33, 1],
      ],
      attrs: { axis: 1 },
    },
    {
      shapes: [
        [3, 7],
        [2, 7],
      ],
    },
    { shapes: [[5]] },
    { shapes: [[1], [1], [1]] },
    {
      shapes: [
        [0, 3],
        [2, 3],
      ],
    },
    {
      shapes: [
        [2, 0],
        [2, 0],
      ],
      attrs: { axis: 1 },
    },
    {
      shapes: [
        [2, 3, 5],
        [2, 3, 5],
      ],
      attrs: { axis: -2 },
    },
    {
      shapes: [
        [64, 64],
        [64, 128],
      ],
      attrs: { axis: -1 },
    },
    { shapes: Array.from({ length: 10 }, (_, i) => [11, i]), attrs: { axis: 1 } },
    { shapes: Array.from({ length: 17 }, (_, i) => [(i % 3) + 1]) },
    {
      shapes: [
        [70001, 1],
        [70001, 2],
      ],
      attrs: { axis: 1 },
      heavy: true,
    },
    {
      shapes: [
        [70001, 3],
        [3, 3],
      ],
      heavy: true,
    },
  ],
  invalid: [
    {
      shapes: [
        [2, 3],
        [3, 2],
      ],
      code: 'ATTN_SHAPE',
    },
    { shapes: [[2, 3], [2]], code: 'ATTN_SHAPE' },
    { shapes: [[2, 3]], attrs: { axis: 2 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[]], code: 'ATTN_ARGUMENT' },
  ],
});
