/** How matmul reads its operands: what its two backends and its definition share. */
import type { DType } from '../tensor/dtype.js';
import { broadcastShapes, broadcastStrides, collapse, type Shape } from '../tensor/shape.js';
import type { Activation } from './activations.js';
import type { Problem } from './contract.js';

export interface MatmulAttrs {
  /** a is stored [..., K, M]. */
  transposeA: boolean;
  /** b is stored [..., N, K]. */
  transposeB: boolean;
  /** 'gelu' is exact (erf). */
  activation: Activation;
  /** '' is the inputs' dtype; halves may give 'float32', which is what they are summed in. */
  outDtype: '' | DType;
}

/** The product in matrices: what kernels see. Operand steps are in matrices, 0 where it is stretched. */
export interface Walk {
  m: number;
  n: number;
  k: number;
  batch: number[];
  aSteps: number[];
  bSteps: number[];
}

interface Frame {
  m: number;
  n: number;
  k: number;
  bk: number;
  aBatch: Shape;
  bBatch: Shape;
}

/** Sizes as NumPy's matmul reads them: a vector a is one row, a vector b one column. */
export function frame(a: Shape, b: Shape, attrs: MatmulAttrs): Frame {
  const [ar, ac] = a.length === 1 ? [1, a[0]!] : a.slice(-2);
  const [br, bc] = b.length === 1 ? [b[0]!, 1] : b.slice(-2);
  const [m, k] = attrs.transposeA ? [ac!, ar!] : [ar!, ac!];
  const [bk, n] = attrs.transposeB ? [bc!, br!] : [br!, bc!];
  return { m, n, k, bk, aBatch: a.slice(0, -2), bBatch: b.slice(0, -2) };
}

/** Batch dimensions merged; a batch over one shared b becomes more rows of a. */
export function walk(problem: Problem<MatmulAttrs>): Walk {
  const [a, b] = problem.inputs;
  const { m, n, k, aBatch, bBatch } = frame(a!.shape, b!.shape, problem.attrs);
  const batch = broadcastShapes([aBatch, bBatch], 'matmul');
  const merged = collapse(batch, [broadcastStrides(aBatch, batch), broadcastStrides(bBatch, batch)]);
  const [aSteps, bSteps] = merged.strides as [number[], number[]];
  if (merged.shape.length === 1 && bSteps[0] === 0 && !problem.attrs.transposeA)
    return { m: m * merged.shape[0]!, n, k, batch: [], aSteps: [], bSteps: [] };
  return { m, n, k, batch: merged.shape, aSteps, bSteps };
}
