/** Strided views: what permute and slice plan alike. out[i] = x[base + strides . index(i)], out contiguous. */
import type { CpuPlan } from '../runtime/binding.js';
import { dtypeBytes, dtypeCode, perWord } from '../tensor/dtype.js';
import { collapse, sizeOf, stridesOf } from '../tensor/shape.js';
import type { GpuVariant, Problem } from './contract.js';
import { loneGroup, overBinding, padLeft, wordsOf } from './launch.js';

export interface View {
  base: number;
  shape: number[];
  strides: number[];
}

/** The view with the axes merged that input and output both walk as one. */
export function viewOf(shape: readonly number[], strides: readonly number[], base = 0): View {
  const merged = collapse(shape, [strides, stridesOf(shape)]);
  return { base, shape: merged.shape, strides: merged.strides[0]! };
}

export const cpuCopy = (problem: Problem, { base, shape, strides }: View): CpuPlan => ({
  kernel: 'strided',
  attrs: [dtypeBytes[problem.inputs[0]!.dtype], base, shape.length, ...shape, strides.length, ...strides],
});

/** Side of the tiles of shaders/transpose.comp. */
const TILE = 32;

/** The axis whose neighbours in the input are neighbours, when the output's last axis is another one. */
const unitAxis = ({ shape, strides }: View): number =>
  strides[strides.length - 1] === 1 ? -1 : strides.findIndex((s, k) => s === 1 && shape[k]! >= 8);

/** shaders/transpose.comp: tiles through shared memory, so that both sides are read and written by neighbours. */
export const tiled = <A>(view: (problem: Problem<A>) => View): GpuVariant<A> => ({
  name: 'shared',
  admits(problem, caps) {
    const v = view(problem);
    const last = v.shape[v.shape.length - 1] ?? 0;
    if (problem.outputs[0]!.size === 0) return 'there is nothing to move';
    if (unitAxis(v) < 0) return 'no two axes to transpose';
    if (last % perWord(problem.inputs[0]!.dtype) !== 0) return 'rows of the output share words';
    if (caps.sharedBytes < TILE * (TILE + 1) * 4) return 'too little shared memory';
    return overBinding([...problem.inputs, ...problem.outputs], caps);
  },
  prefers: (problem, caps) => caps.type !== 'cpu' && (view(problem).shape.at(-1) ?? 0) >= 8,
  plan(problem, caps) {
    const x = problem.inputs[0]!;
    const v = view(problem);
    const last = v.shape.length - 1;
    const unit = unitAxis(v);
    const out = stridesOf(v.shape);
    const others = v.shape.map((_, k) => k).filter((k) => k !== unit && k !== last);
    const across = Math.ceil(v.shape[unit]! / TILE);
    const down = Math.ceil(v.shape[last]! / TILE);
    return {
      dispatches: [
        {
          shader: 'transpose',
          spec: [caps.maxInvocations >= 256 ? 256 : 128, dtypeCode[x.dtype]],
          push: [
            v.base,
            v.shape[unit]!,
            v.shape[last]!,
            out[unit]!,
            v.strides[last]!,
            across,
            down,
            ...padLeft(
              others.map((k) => v.shape[k]!),
              6,
              1,
            ),
            ...padLeft(
              others.map((k) => v.strides[k]!),
              6,
              0,
            ),
            ...padLeft(
              others.map((k) => out[k]!),
              6,
              0,
            ),
          ],
          groups: across * down * sizeOf(others.map((k) => v.shape[k]!)),
          binds: [{ operand: 0 }, { operand: 1 }],
        },
      ],
    };
  },
});

/** The view counted in vectors of so many elements, where rows are whole vectors; else null. */
function inVectors({ base, shape, strides }: View, unit: number): View | null {
  const last = shape.length - 1;
  if (last < 0 || strides[last] !== 1) return null;
  const whole = (n: number) => n % unit === 0;
  if (!whole(base) || !whole(shape[last]!) || !strides.slice(0, last).every(whole)) return null;
  return {
    base: base / unit,
    shape: [...shape.slice(0, last), shape[last]! / unit],
    strides: [...strides.slice(0, last).map((s) => s / unit), 1],
  };
}

/** shaders/copy.comp: one invocation to an output word, any strides. */
export const strided = <A>(view: (problem: Problem<A>) => View): GpuVariant<A> => ({
  name: 'simple',
  admits: (problem, caps) => overBinding([...problem.inputs, ...problem.outputs], caps),
  plan(problem, caps) {
    const y = problem.outputs[0]!;
    if (y.size === 0) return { dispatches: [] };
    const group = loneGroup(caps);
    const whole = inVectors(view(problem), 4 * perWord(y.dtype));
    const v = whole ?? view(problem);
    const words = whole ? sizeOf(v.shape) : wordsOf(y);
    const run = caps.type === 'cpu' && !whole ? 16 : 1;
    return {
      dispatches: [
        {
          shader: 'copy',
          spec: [group, dtypeCode[y.dtype], Math.max(1, v.shape.length), run, whole ? 1 : 0],
          push: [
            words,
            y.size,
            v.base,
            ...padLeft(v.shape, 8, 1).reverse(),
            ...padLeft(v.strides, 8, 0).reverse(),
          ],
          groups: Math.ceil(words / run / group),
          binds: [{ operand: 0 }, { operand: 1 }],
        },
      ],
    };
  },
});
