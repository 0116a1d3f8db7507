/** softmax along an axis: of [outer, n, inner], lines of n elements, `inner` apart. */
import type { Caps, Dispatch, GpuPlan } from '../runtime/binding.js';
import { dtypeCode, floatDTypes, perWord } from '../tensor/dtype.js';
import { normalizeAxis, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem } from './define.js';
import {
  cutLines,
  fixedSubgroups,
  loneGroup,
  MOST_TURNS,
  overBinding,
  sharedGroup,
  windowElements,
  windowOf,
  wordsOf,
} from './launch.js';

export interface SoftmaxAttrs {
  axis: number;
}

function linesOf({ inputs, attrs }: Problem<SoftmaxAttrs>): { outer: number; n: number; inner: number } {
  const { shape } = inputs[0]!;
  const axis = normalizeAxis(attrs.axis, shape.length, 'softmax');
  return { outer: sizeOf(shape.slice(0, axis)), n: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

/** Rows whose bytes start at a multiple of what a binding's offset needs. */
function rowStep(problem: Problem<SoftmaxAttrs>): number {
  const bytes = (linesOf(problem).n * 4) / perWord(problem.inputs[0]!.dtype);
  let step = 256;
  while (step > 1 && (bytes * (step / 2)) % 256 === 0) step /= 2;
  return step;
}

/** Rows to a launch: all, or as many as a binding holds of the input and of the output. */
function rowsPerLaunch(problem: Problem<SoftmaxAttrs>, caps: Caps): number {
  const { outer, n } = linesOf(problem);
  const most = Math.floor(windowElements(problem.inputs[0]!, caps) / n);
  const step = rowStep(problem);
  return outer <= most ? outer : Math.floor(most / step) * step;
}

function admitsRows(problem: Problem<SoftmaxAttrs>, caps: Caps, team: number): string | null {
  const { n, inner } = linesOf(problem);
  if (problem.outputs[0]!.size === 0) return 'there is nothing to do';
  if (inner !== 1) return 'the axis is not the last';
  // Three passes, over two rows of halves where they share words.
  if (8 * n > MOST_TURNS * team) return `rows of ${n} are too long for a team of ${team}`;
  if (rowsPerLaunch(problem, caps) === 0)
    return `a window of rows is larger than a binding of ${caps.maxBindingBytes} bytes`;
  return null;
}

/** shaders/softmax_*.comp: a team to each row; to a pair of rows where halves share the word between them. */
function rowsPlan(problem: Problem<SoftmaxAttrs>, caps: Caps, shader: string, team: number): GpuPlan {
  const x = problem.inputs[0]!;
  const { outer, n } = linesOf(problem);
  const most = rowsPerLaunch(problem, caps);
  const together = (n % perWord(x.dtype)) + 1;
  const dispatches: Dispatch[] = [];
  for (let row = 0; row < outer; row += most) {
    const rows = Math.min(most, outer - row);
    dispatches.push({
      shader,
      spec: [team, dtypeCode[x.dtype], together, n % (4 * perWord(x.dtype)) === 0 ? 1 : 0],
      push: [rows, n],
      groups: Math.ceil(rows / together),
      binds: [
        windowOf(0, x, row * n, (row + rows) * n).bind,
        { ...windowOf(1, x, row * n, (row + rows) * n).bind, write: true },
      ],
    });
  }
  return { dispatches };
}

const subgroup: GpuVariant<SoftmaxAttrs> = {
  name: 'subgroup',
  admits: (problem, caps) => fixedSubgroups(caps) ?? admitsRows(problem, caps, caps.subgroupSize),
  prefers(problem, caps) {
    const { n } = linesOf(problem);
    return n >= 4 * caps.subgroupSize && (caps.type === 'cpu' || n <= 1024);
  },
  plan: (problem, caps) => rowsPlan(problem, caps, 'softmax_subgroup', caps.subgroupSize),
};

const shared: GpuVariant<SoftmaxAttrs> = {
  name: 'shared',
  admits: (problem, caps) => admitsRows(problem, caps, sharedGroup(caps)),
  prefers: (problem, caps) => caps.type !== 'cpu' && linesOf(problem).n >= 128,
  plan: (problem, caps) => rowsPlan(problem, caps, 'softmax_shared', sharedGroup(caps)),
};

// Stages of shaders/softmax_lines.comp.
const LINES = 0; // maximum and 1 / sum of each line
const PARTS = 1; // maximum and sum of each segment of each line
const JOIN = 2; // segments to lines
const APPLY = 3; // one invocation to an output word

/** Any axis, any length: one invocation to a line, or to a segment of one where lines are few or long. */
const simple: GpuVariant<SoftmaxAttrs> = {
  name: 'simple',
  admits: (problem, caps) => overBinding(problem.inputs, caps),
  plan(problem, caps) {
    const x = problem.inputs[0]!;
    if (x.size === 0) return { dispatches: [] };
    const { outer, n, inner } = linesOf(problem);
    const lines = outer * inner;
    const group = loneGroup(caps);
    const { length, segments } = cutLines(lines, n, 256, 2, caps);
    const [forLines, forParts] = [2, 3];
    const launch = (stage: number, invocations: number, from: number, stats: number): Dispatch => ({
      shader: 'softmax_lines',
      spec: [group, dtypeCode[x.dtype], stage],
      push: [invocations, x.size, n, inner, segments, length],
      groups: Math.ceil(invocations / group),
      binds: [
        { operand: from, write: false },
        { operand: 1, write: stage === APPLY },
        { operand: stats, write: stage !== APPLY },
      ],
    });
    const apply = launch(APPLY, wordsOf(x), 0, forLines);
    if (segments === 1)
      return { scratch: [lines * 8], dispatches: [launch(LINES, lines, 0, forLines), apply] };
    return {
      scratch: [lines * 8, lines * segments * 8],
      dispatches: [
        launch(PARTS, lines * segments, 0, forParts),
        launch(JOIN, lines, forParts, forLines),
        apply,
      ],
    };
  },
};

/** exp(x) / sum(exp(x)) along an axis, in float32. A line that is -inf throughout gives zeros, not NaN. */
export const softmax = defineOp<[x: Tensor]>()<SoftmaxAttrs>({
  name: 'softmax',
  doc: 'exp(x) / sum(exp(x)) along an axis; a line that is -inf throughout gives 0',
  inputs: ['x'],
  attrs: { axis: -1 },
  dtypes: floatDTypes,
  infer([x], { axis }) {
    normalizeAxis(axis, x!.rank, 'softmax');
    return [spec(x!.shape, x!.dtype)];
  },
  reference([x], problem) {
    const { outer, n, inner } = linesOf(problem);
    const y = new Float64Array(x!.length);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        const at = (k: number) => (o * n + k) * inner + i;
        let max = Number.NEGATIVE_INFINITY;
        for (let k = 0; k < n; k++) max = Math.max(max, x![at(k)]!);
        if (max === Number.NEGATIVE_INFINITY) continue;
        let sum = 0;
        for (let k = 0; k < n; k++) sum += y[at(k)] = Math.exp(x![at(k)]! - max);
        for (let k = 0; k < n; k++) y[at(k)]! /= sum;
      }
    return [y];
  },
  cpu(problem) {
    const { outer, n, inner } = linesOf(problem);
    return { kernel: 'softmax', attrs: [dtypeCode[problem.inputs[0]!.dtype], outer, n, inner] };
  },
  gpu: [subgroup, shared, simple],
  cost: ({ inputs }) => ({ flops: 8 * inputs[0]!.size, bytes: 2 * inputs[0]!.bytes, family: 'special' }),
  /** dx = y (g - sum(g y)) */
  backward({ grads: [g], outputs: [y], attrs: { axis }, F }) {
    return [F.mul!(y, F.sub!(g, F.sum!(F.mul!(g, y), { axis, keepDims: true })))];
  },
  saves: { outputs: [0] },
  samples: [
    { shapes: [[33, 65]] },
    { shapes: [[33, 65]], attrs: { axis: 0 } },
    { shapes: [[1]] },
    { shapes: [[5, 1]] },
    { shapes: [[0, 4]] },
    { shapes: [[4, 0]] },
    { shapes: [[2, 17, 30]], attrs: { axis: 1 } },
    { shapes: [[2, 17, 33]], attrs: { axis: -2 } },
    { shapes: [[64, 256]] },
    { shapes: [[9, 1025]], domains: [[-80, 80]] },
    { shapes: [[2, 9000]] },
    { shapes: [[70000, 3]], heavy: true },
    { shapes: [[3, 70001]], heavy: true },
    { shapes: [[70000, 3]], attrs: { axis: 0 }, heavy: true },
    { shapes: [[33000, 1056]], dtypes: ['float32'], heavy: true },
  ],
  invalid: [
    { shapes: [[2, 3]], attrs: { axis: 2 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[]], code: 'ATTN_ARGUMENT' },
  ],
});
