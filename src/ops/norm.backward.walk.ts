/** The operands of the norms' gradient ops by name. */
import type { DType } from '../tensor/dtype.js';

export interface NormBackwardAttrs {
  /** Whether the gradients of x and of the weight are wanted. */
  dx: boolean;
  dw: boolean;
  /** dtype of the gradient of the bias, '' where it is not wanted; only where the norm is centred. */
  db?: DType | '';
}

export interface BackwardParts<T> {
  dy: T;
  x: T;
  mean?: T;
  rstd: T;
  weight?: T;
  dres?: T;
}

export function backwardParts<T>(centred: boolean, inputs: readonly T[]): BackwardParts<T> {
  const [dy, x, ...rest] = inputs;
  const mean = centred ? rest.shift() : undefined;
  const [rstd, weight, dres] = rest;
  return {
    dy: dy!,
    x: x!,
    rstd: rstd!,
    ...(mean !== undefined ? { mean } : {}),
    ...(weight !== undefined ? { weight } : {}),
    ...(dres !== undefined ? { dres } : {}),
  };
}
