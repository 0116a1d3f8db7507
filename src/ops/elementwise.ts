/** What the element-wise ops share: the walk over broadcast operands, and the three forms of their GPU kernels. */
import type { Caps } from '../runtime/binding.js';
import { dtypeCode, perWord } from '../tensor/dtype.js';
import { broadcastStrides, collapse, type Shape, type Spec } from '../tensor/shape.js';
import type { GpuVariant, OpTable, Problem, Value } from './contract.js';
import { mapGroup, padRight, split } from './launch.js';

/** Operands stretched to the output's shape, axes collapsed: sizes, and the strides of each operand in elements. */
export interface Walk {
  shape: number[];
  strides: number[][];
}

export const walkOf = ({ inputs, outputs }: Problem): Walk =>
  collapse(
    outputs[0]!.shape,
    inputs.map((s) => broadcastStrides(s.shape, outputs[0]!.shape)),
  );

/** As native/cpu/map.h reads it: the shape, then the strides of each operand, each list after its length. */
export const packWalk = ({ shape, strides }: Walk): number[] =>
  [shape, ...strides].flatMap((list) => [list.length, ...list]);

/** 1 for each input that moves with the output and 0 for each that is one value; null where one is neither. */
function movesOf(problem: Problem): number[] | null {
  const { shape, strides } = walkOf(problem);
  return shape.length > 1 ? null : strides.map((s) => s[0] ?? 1);
}

/** The gradient of a stretched operand: summed over the axes that it was stretched along. */
export function sumTo(gradient: Value, shape: Shape, F: OpTable): Value {
  const lead = gradient.rank - shape.length;
  const axes = gradient.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []));
  return (axes.length === 0 ? gradient : F.sum!(gradient, { axis: axes })).reshape(shape);
}

/** Bytes that an op reads and writes. */
export const bytesOf = ({ inputs, outputs }: Problem): number =>
  [...inputs, ...outputs].reduce((bytes, s) => bytes + s.bytes, 0);

// ---------------------------------------------------------------- GPU plans

/** uvec4 steps that one invocation of a contiguous kernel makes, a workgroup apart. */
export const STEPS = 4;

/**
 * The contiguous form of an op: every input moves with the output or is one value. `spec` follows the workgroup
 * size; the last constant of all kernels of this form is the bit mask of the inputs that stand still. Invocations
 * take `units` of `perUnit` elements, STEPS of them.
 */
export const contiguous = <A>(
  shader: string,
  constants: (problem: Problem<A>) => number[],
  perUnit: (problem: Problem<A>) => number,
): GpuVariant<A> => ({
  name: 'contiguous',
  admits: (problem) =>
    movesOf(problem as Problem) ? null : 'an operand is stretched along some of its axes only',
  plan(problem, caps) {
    const moves = movesOf(problem as Problem)!;
    const output = problem.outputs[0]!;
    const operands = [
      ...problem.inputs.map((spec, i) => ({ spec, moves: moves[i]! })),
      { spec: output, moves: 1 },
    ];
    const still = moves.reduce((mask, m, i) => mask | (m ? 0 : 1 << i), 0);
    const size = mapGroup(caps);
    return {
      dispatches: split(operands, output.size, caps, ({ count }, binds) => {
        const units = Math.ceil(count / perUnit(problem));
        return {
          shader,
          spec: [size, STEPS, ...constants(problem), still],
          push: [units],
          groups: Math.ceil(units / (size * STEPS)),
          binds,
        };
      }),
    };
  },
});

const MAX_AXES = 6;

/** What every stretched form needs: few axes, indices below 2^31, operands that fit a binding. */
function stretchable(problem: Problem, axes: number, caps: Caps): string | null {
  if (axes > MAX_AXES) return `${axes} axes remain where the kernel walks ${MAX_AXES}`;
  const output = problem.outputs[0]!;
  if (output.size >= 2 ** 31) return `${output.size} elements are beyond 32-bit indices`;
  const widest = Math.max(output.bytes, ...problem.inputs.map((s) => s.bytes));
  if (widest > caps.maxBindingBytes)
    return `an operand of ${widest} bytes exceeds a binding (${caps.maxBindingBytes}) and is stretched, so it cannot be split`;
  return null;
}

/** Workgroups that keep a large device busy. */
const ENOUGH_GROUPS = 512;

/**
 * Stretched operands whose innermost axis is whole units of 16 bytes: every operand moves or stands still along it,
 * and rows are found once an invocation. Lanes stand `width` abreast on a row; long rows are cut in chunks.
 */
export const rows = <A>(
  shader: string,
  constants: (problem: Problem<A>) => number[],
  perUnit: (problem: Problem<A>) => number,
): GpuVariant<A> => ({
  name: 'rows',
  admits(problem, caps) {
    const { shape } = walkOf(problem as Problem);
    const row = shape.at(-1) ?? 1;
    if (shape.length < 2) return 'nothing is stretched along some axes only';
    if (row % perUnit(problem)) return `rows of ${row} elements are not whole units of ${perUnit(problem)}`;
    return stretchable(problem as Problem, shape.length, caps);
  },
  plan(problem, caps) {
    const { shape, strides } = walkOf(problem as Problem);
    const size = mapGroup(caps);
    const outer = shape.slice(0, -1);
    const count = outer.reduce((n, d) => n * d, 1);
    const units = shape.at(-1)! / perUnit(problem);
    if (count * units === 0) return { dispatches: [] };
    const logWidth = Math.min(Math.log2(size), Math.ceil(Math.log2(units)));
    const width = 2 ** logWidth;
    const blocks = Math.ceil(count / (size / width));
    const wanted = Math.min(Math.ceil(ENOUGH_GROUPS / blocks), Math.ceil(units / width));
    const span = Math.ceil(units / wanted / width) * width;
    const chunks = Math.ceil(units / span);
    const still = strides.reduce((mask, s, i) => mask | (s.at(-1) ? 0 : 1 << i), 0);
    const axes = MAX_AXES - 1;
    return {
      dispatches: [
        {
          shader,
          spec: [size, shape.length, ...constants(problem), still],
          push: [
            count,
            units,
            chunks,
            span,
            logWidth,
            ...padRight(outer, axes, 1),
            ...strides.flatMap((s) => padRight(s.slice(0, -1), axes, 0)),
          ],
          groups: blocks * chunks,
          binds: [...problem.inputs, problem.outputs[0]!].map((_, operand) => ({ operand })),
        },
      ],
    };
  },
});

/** The general form: up to six axes with any strides; an invocation makes the elements of one output word. */
export const broadcast = <A>(
  shader: string,
  constants: (problem: Problem<A>) => number[],
): GpuVariant<A> => ({
  name: 'broadcast',
  admits: (problem, caps) => stretchable(problem as Problem, walkOf(problem as Problem).shape.length, caps),
  plan(problem, caps) {
    const { shape, strides } = walkOf(problem as Problem);
    const output = problem.outputs[0]!;
    if (output.size === 0) return { dispatches: [] };
    const words = Math.ceil(output.size / perWord(output.dtype));
    const size = mapGroup(caps);
    return {
      dispatches: [
        {
          shader,
          spec: [size, ...constants(problem), shape.length],
          push: [
            output.size,
            ...padRight(shape, MAX_AXES, 1),
            ...strides.flatMap((s) => padRight(s, MAX_AXES, 0)),
          ],
          groups: Math.ceil(words / size),
          binds: [...problem.inputs, output].map((_, operand) => ({ operand })),
        },
      ],
    };
  },
});

/** dtype codes of operands, as kernels take them. */
export const codes = (...specs: Spec[]): number[] => specs.map((s) => dtypeCode[s.dtype]);

/** Calls fn(i, offsets) for each element of a walk, in order: the reference's way through broadcast operands. */
export function eachElement(
  { shape, strides }: Walk,
  fn: (i: number, offsets: readonly number[]) => void,
): void {
  const index = new Array<number>(shape.length).fill(0);
  const offsets = new Array<number>(strides.length).fill(0);
  const size = shape.reduce((n, d) => n * d, 1);
  for (let i = 0; i < size; i++) {
    fn(i, offsets);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      for (let k = 0; k < strides.length; k++) offsets[k]! += strides[k]![axis]!;
      if (++index[axis]! < shape[axis]!) break;
      for (let k = 0; k < strides.length; k++) offsets[k]! -= shape[axis]! * strides[k]![axis]!;
      index[axis] = 0;
    }
  }
}
