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

/** The shapes that all of them walk, with `inputs` operands. */
export const lineSamples = <A extends SoftmaxAttrs>(inputs: number): Sample<A>[] =>
  (
    [
      { shape: [33, 65] },
      { shape: [33, 65], axis: 0 },
      { shape: [1] },
      { shape: [5, 1] },
      { shape: [0, 4] },
      { shape: [4, 0] },
      { shape: [2, 17, 30], axis: 1 },
      { shape: [2, 17, 33], axis: -2 },
      { shape: [64, 256] },
      { shape: [9, 1025] },
      { shape: [2, 9000] },
      { shape: [70000, 3], heavy: true },
      { shape: [3, 70001], heavy: true },
      { shape: [70000, 3], axis: 0, heavy: true },
      { shape: [33000, 1056], heavy: true, dtypes: ['float32'] as const },
    ] as const
  ).map(
    ({
      shape,
      ...rest
    }: {
      shape: Shape;
      axis?: number;
      heavy?: boolean;
      dtypes?: readonly ['float32'];
    }) => ({
      shapes: Array.from({ length: inputs }, () => shape),
      ...(rest.axis === undefined ? {} : { attrs: { axis: rest.axis } as Partial<A> }),
      ...(rest.heavy ? { heavy: true } : {}),
      ...(rest.dtypes ? { dtypes: rest.dtypes } : {}),
    }),
  );
