/**
 * How a reduction walks its input.
 *
 * Neighbouring kept axes are merged, and neighbouring reduced ones, so what remains alternates: at rank 8 at most
 * four groups of each kind. Where the innermost group is reduced, rows of neighbours are reduced (`rowLength`);
 * otherwise outputs lie side by side and are reduced together.
 */
import { normalizeAxes, sizeOf, stridesOf } from '../tensor/shape.js';
import type { Problem } from './contract.js';

export interface ReduceAttrs {
  /** Axes to reduce; null: all. argmax takes one, or null for the flattened tensor. */
  axis: number | readonly number[] | null;
  /** Reduced axes stay, with size 1. */
  keepDims: boolean;
}

// Numbers of shaders/lib/reduce.glsl and native/cpu/reduce.h.
export const opCode = { sum: 0, mean: 1, max: 2, argmax: 3 } as const;
export type Kind = keyof typeof opCode;

export interface Geometry {
  /** Merged axes, kept and reduced in turn. */
  groups: { size: number; stride: number; reduced: boolean }[];
  /** Elements of the output, and of the input for each. */
  outputs: number;
  count: number;
}

export function geometryOf(problem: Problem<ReduceAttrs>): Geometry {
  const { shape } = problem.inputs[0]!;
  const axes = new Set(normalizeAxes(problem.attrs.axis, shape.length, 'reduce'));
  const strides = stridesOf(shape);
  const groups: Geometry['groups'] = [];
  shape.forEach((size, i) => {
    if (size === 1) return;
    const last = groups[groups.length - 1];
    const reduced = axes.has(i);
    if (last?.reduced === reduced) Object.assign(last, { size: last.size * size, stride: strides[i]! });
    else groups.push({ size, stride: strides[i]!, reduced });
  });
  const product = (reduced: boolean) =>
    sizeOf(groups.filter((g) => g.reduced === reduced).map((g) => g.size));
  return { groups, outputs: product(false), count: product(true) };
}

/** Length of the rows when the reduction is over rows of neighbours, each a whole output; else 0. */
export const rowLength = ({ groups }: Geometry): number =>
  groups.length <= 2 && groups[groups.length - 1]?.reduced ? groups[groups.length - 1]!.size : 0;
