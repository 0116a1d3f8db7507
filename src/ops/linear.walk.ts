/** What linear and its gradient agree on: their attributes, and their operands as matrices. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import type { DType } from '../tensor/dtype.js';
import { type Spec, show, sizeOf } from '../tensor/shape.js';
import { type AnyActivation, activationTable } from './activations.js';

export interface LinearAttrs {
  /** 'gelu' is exact (erf). */
  activation: AnyActivation;
  /** '' is the dtype of x; halves may give 'float32', which is what they are summed in. */
  outDtype: '' | DType;
  /** dtype of the weight's gradient: '' is the weight's own; 'float32' where that is a cast of an fp32 master. */
  gradDtype: '' | DType;
}

export interface LinearBackwardAttrs {
  activation: AnyActivation;
  /** Which gradients are wanted. */
  input: boolean;
  weight: boolean;
  /** dtype of the weight's gradient; '': the weight's. */
  gradDtype: '' | DType;
  /** dtype of the bias's gradient; '': none is wanted. */
  biasDtype: '' | DType;
}

/** Rows of x, elements of a row, and rows of the weight. */
export interface Sizes {
  rows: number;
  inner: number;
  outer: number;
}

export function sizesOf(x: Spec, weight: Spec): Sizes {
  return {
    rows: sizeOf(x.shape.slice(0, -1)),
    inner: x.shape[x.rank - 1]!,
    outer: weight.shape[0]!,
  };
}

/** Operands by name, for errors: `x [2, 3], weight [4, 3]`. */
export const named = (operands: Record<string, Spec | undefined>): string =>
  Object.entries(operands)
    .flatMap(([name, s]) => (s ? [`${name} ${show(s.shape)}`] : []))
    .join(', ');

/** That x and the weight fit each other; `operands` are all that were given. */
export function checkSizes(x: Spec, weight: Spec, operands: string, op: string): Sizes {
  const hint = 'x is [..., I] and weight is [O, I]';
  if (x.rank === 0 || weight.rank !== 2) throw new ShapeError(`${operands} make no layer`, { op, hint });
  const { inner } = sizesOf(x, weight);
  if (weight.shape[1] !== inner)
    throw new ShapeError(`${operands}: x and weight share no inner size, ${inner} and ${weight.shape[1]}`, {
      op,
      hint,
    });
  return sizesOf(x, weight);
}

export function checkActivation(activation: string, op: string): void {
  if (Object.hasOwn(activationTable, activation)) return;
  throw new ArgumentError(`unknown activation '${activation}'`, {
    op,
    hint: `use one of ${Object.keys(activationTable).join(', ')}`,
  });
}

/** That an attribute names one of some dtypes. */
export function checkAmong(name: string, dtype: '' | DType, among: readonly DType[], op: string): void {
  if (dtype === '' || among.includes(dtype)) return;
  throw new ArgumentError(`${name} ${String(dtype)} is none of ${among.join(', ')}`, {
    op,
    hint: 'leave it out, or cast the result',
  });
}
