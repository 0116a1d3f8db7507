/** Running sums along an axis: of [outer, n, inner], lines of n elements, `inner` apart. */
import type { Caps, Dispatch } from '../runtime/binding.js';
import { dtypeCode, floatDTypes } from '../tensor/dtype.js';
import { normalizeAxis, sizeOf, spec } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import { defineOp, type GpuVariant, type Problem } from './define.js';
import { cutLines, fixedSubgroups, loneGroup, MOST_TURNS, overBinding, wordsOf } from './launch.js';

export interface CumsumAttrs {
  axis: number;
}

function linesOf({ inputs, attrs }: Problem<CumsumAttrs>): { outer: number; n: number; inner: number } {
  const { shape } = inputs[0]!;
  const axis = normalizeAxis(attrs.axis, shape.length, 'cumsum');
  return { outer: sizeOf(shape.slice(0, axis)), n: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

function admits(problem: Problem<CumsumAttrs>, caps: Caps): string | null {
  const x = problem.inputs[0]!;
  if (x.size * 4 > caps.maxBindingBytes) return overBinding([spec(x.shape, 'float32')], caps);
  return null;
}

/** shaders/cumsum_subgroup.comp: a subgroup to a row, a subgroup's width of it at a time. */
const subgroup: GpuVariant<CumsumAttrs> = {
  name: 'subgroup',
  admits(problem, caps) {
    if (linesOf(problem).inner !== 1) return 'the axis is not the last';
    if (problem.inputs[0]!.dtype === 'float16' || problem.inputs[0]!.dtype === 'bfloat16')
      return 'rows of halves may share a word';
    if (problem.inputs[0]!.size === 0) return 'there is nothing to do';
    if (linesOf(problem).n > MOST_TURNS * caps.subgroupSize) return 'rows are too long for one subgroup';
    return fixedSubgroups(caps) ?? admits(problem, caps);
  },
  prefers(problem, caps) {
    const { outer, n } = linesOf(problem);
    return n >= 4 * caps.subgroupSize && n <= 65536 && outer >= (caps.type === 'cpu' ? 2 : 64);
  },
  plan(problem, caps) {
    const { outer, n } = linesOf(problem);
    return {
      dispatches: [
        {
          shader: 'cumsum_subgroup',
          spec: [caps.subgroupSize, dtypeCode[problem.inputs[0]!.dtype]],
          push: [n],
          groups: outer,
          binds: [{ operand: 0 }, { operand: 1 }],
        },
      ],
    };
  },
};

// Stages of shaders/cumsum.comp.
const TOTALS = 0; // sum of each segment of each line
const OFFSETS = 1; // what lies before each segment
const SCAN = 2; // one invocation to a segment
const PACK = 3; // float32 to halves, one invocation to a word

/** One invocation to a line; where lines are few, to a segment of one, after the sums before it are known. */
const simple: GpuVariant<CumsumAttrs> = {
  name: 'simple',
  admits,
  plan(problem, caps) {
    const x = problem.inputs[0]!;
    if (x.size === 0) return { dispatches: [] };
    const { outer, n, inner } = linesOf(problem);
    const lines = outer * inner;
    const group = loneGroup(caps);
    const { length, segments } = cutLines(lines, n, 128, 1, caps);
    const halves = x.dtype === 'float16' || x.dtype === 'bfloat16';
    const [offsets, wide] = [2, 3];
    const launch = (stage: number, invocations: number, from: number, to: number): Dispatch => ({
      shader: 'cumsum',
      spec: [group, dtypeCode[x.dtype], stage, segments > 1 ? 1 : 0],
      push: [invocations, x.size, n, inner, segments, length],
      groups: Math.ceil(invocations / group),
      binds: [
        { operand: from, write: false },
        { operand: offsets, write: stage === TOTALS || stage === OFFSETS },
        { operand: to, write: stage === SCAN || stage === PACK },
      ],
    });
    const dispatches: Dispatch[] = [];
    if (segments > 1) {
      dispatches.push(launch(TOTALS, lines * segments, 0, 1));
      dispatches.push(launch(OFFSETS, lines, 0, 1));
    }
    dispatches.push(launch(SCAN, lines * segments, 0, halves ? wide : 1));
    if (halves) dispatches.push(launch(PACK, wordsOf(x), wide, 1));
    const scratch = [Math.max(4, segments > 1 ? lines * segments * 4 : 4)];
    if (halves) scratch.push(x.size * 4);
    return { scratch, dispatches };
  },
};

/** Running sums along an axis; int32 wraps. Halves are summed in float32. */
export const cumsum = defineOp<[x: Tensor]>()<CumsumAttrs>({
  name: 'cumsum',
  doc: 'running sums of x along an axis',
  inputs: ['x'],
  attrs: { axis: -1 },
  dtypes: [...floatDTypes, 'int32'],
  infer([x], { axis }) {
    normalizeAxis(axis, x!.rank, 'cumsum');
    return [spec(x!.shape, x!.dtype)];
  },
  reference([x], problem) {
    const { outer, n, inner } = linesOf(problem);
    const wraps = problem.inputs[0]!.dtype === 'int32';
    const y = new Float64Array(x!.length);
    for (let o = 0; o < outer; o++)
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let k = 0; k < n; k++) {
          const at = (o * n + k) * inner + i;
          sum = wraps ? (sum + x![at]!) | 0 : sum + x![at]!;
          y[at] = sum;
        }
      }
    return [y];
  },
  cpu(problem) {
    const { outer, n, inner } = linesOf(problem);
    return { kernel: 'cumsum', attrs: [dtypeCode[problem.inputs[0]!.dtype], outer, n, inner] };
  },
  gpu: [subgroup, simple],
  cost: ({ inputs }) => ({ flops: inputs[0]!.size, bytes: 2 * inputs[0]!.bytes, family: 'scan' }),
  /** dx_i = sum of g_k for k >= i = total - cumsum + g */
  backward({ grads: [g], attrs: { axis }, F }) {
    return [F.add!(F.sub!(F.sum!(g, { axis, keepDims: true }), F.cumsum!(g, { axis })), g)];
  },
  saves: {},
  tolerance: (problem) => Math.max(1e-5, 2e-6 * Math.sqrt(linesOf(problem).n)),
  samples: [
    { shapes: [[33, 65]] },
    { shapes: [[33, 65]], attrs: { axis: 0 } },
    { shapes: [[1]] },
    { shapes: [[0, 4]] },
    { shapes: [[4, 0]] },
    { shapes: [[2, 17, 33]], attrs: { axis: 1 } },
    { shapes: [[5, 1, 3]], attrs: { axis: 1 } },
    { shapes: [[64, 256]] },
    { shapes: [[1, 5001]] },
    { shapes: [[70000, 3]], heavy: true },
    { shapes: [[70000, 3]], attrs: { axis: 0 }, heavy: true },
    { shapes: [[200001]], attrs: { axis: 0 }, heavy: true },
  ],
  invalid: [
    { shapes: [[2, 3]], attrs: { axis: -3 }, code: 'ATTN_ARGUMENT' },
    { shapes: [[]], code: 'ATTN_ARGUMENT' },
  ],
});
