/** What softmax, its logarithm, logsumexp and their gradients share: the lines of [outer, n, inner], `inner` apart. */
import { normalizeAxis, type Shape, sizeOf } from '../tensor/shape.js';
import type { Sample } from './contract.js';

export interface SoftmaxAttrs {
  axis: number;
}

/** Codes shared with native/cpu/softmax.cc and shaders/lib/softmax.glsl. */
export const kindCode = {
  softmax: 0,
  log_softmax: 1,
  logsumexp: 2,
  softmax_backward: 3,
  log_softmax_backward: 4,
};
export type Kind = keyof typeof kindCode;

export interface Lines {
  outer: number;
  n: number;
  inner: number;
}

export function linesOf(shape: Shape, attrs: SoftmaxAttrs): Lines {
  const axis = normalizeAxis(attrs.axis, shape.length, 'softmax');
  return { outer: sizeOf(shape.slice(0, axis)), n: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

/** Calls fn(line, at) for every line; at(k) is the place of its element k. */
export function eachLine(
  { outer, n, inner }: Lines,
  fn: (line: number, at: (k: number) => number) => void,
): void {
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < inner; i++) fn(o * inner + i, (k) => (o * n + k) * inner + i);
}

const walked: readonly [shape: Shape, axis: number, heavy?: true][] = [
  [[33, 65], -1],
  [[33, 65], 0],
  [[1], 0],
  [[5, 1], -1],
  [[0, 4], -1],
  [[4, 0], -1],
  [[2, 17, 30], 1],
  [[2, 17, 33], -2],
  [[64, 256], -1],
  [[9, 1025], -1],
  [[2, 9000], -1],
  [[70000, 3], -1, true],
  [[3, 70001], -1, true],
  [[70000, 3], 0, true],
];

/** The samples that all of them walk, with `inputs` operands. */
export const lineSamples = <A extends SoftmaxAttrs>(inputs: number): Sample<A>[] =>
  walked.map(([shape, axis, heavy]) => ({
    shapes: Array.from({ length: inputs }, () => shape),
    attrs: { axis } as Partial<A>,
    heavy: heavy ?? false,
  }));

/** More than a binding of 128 MiB holds. */
export const largeSample = <A extends SoftmaxAttrs>(inputs: number): Sample<A> => ({
  shapes: Array.from({ length: inputs }, () => [1100, 32768]),
  dtypes: ['float32'],
  heavy: true,
});
