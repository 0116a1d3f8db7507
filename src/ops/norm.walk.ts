/** What the norms and their gradients share: which operands they have, their rows, and the checks on them. */
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { type DType, floatDTypes } from '../tensor/dtype.js';
import { type Shape, type Spec, show, sizeOf } from '../tensor/shape.js';
import type { InputSpec } from './contract.js';

export interface NormAttrs {
  /** Added to the variance (layer_norm) or to the mean square (rms_norm). */
  eps: number;
  /** dtype of y; '' is that of x. */
  outDtype: DType | '';
}

/** One of the four norms: `centred` takes the mean away, `residual` adds a second input before. */
export interface Kind {
  name: string;
  centred: boolean;
  residual: boolean;
}

/** The operands of a problem by name; further inputs are absent where they were left out. */
export interface Parts<T> {
  x: T;
  residual?: T;
  weight?: T;
  bias?: T;
}

export function partsOf<T>({ residual, centred }: Kind, inputs: readonly T[]): Parts<T> {
  const [x, ...rest] = inputs;
  const parts: Parts<T> = { x: x! };
  if (residual) parts.residual = rest.shift()!;
  const [weight, bias] = rest;
  if (weight !== undefined) parts.weight = weight;
  if (centred && bias !== undefined) parts.bias = bias;
  return parts;
}

/** Rows of neighbours, and their length. */
export function rowsOf(x: Spec): { rows: number; n: number } {
  return { rows: sizeOf(x.shape.slice(0, -1)), n: x.shape.at(-1)! };
}

/** fp32 by preference: a model keeps its parameters so, whatever it computes in. */
export const parameter = (name: string, domain: readonly [number, number]): InputSpec => ({
  name,
  dtypes: floatDTypes,
  domain,
});

export function checkRows(op: string, x: Spec): void {
  if (x.rank === 0)
    throw new ShapeError(`x ${show(x.shape, x.dtype)} has no axis to normalise`, {
      op,
      hint: 'it needs at least one',
    });
}

/** Operands beside x whose shapes follow from its own. */
export function checkShapes(
  op: string,
  x: Spec,
  given: Record<string, Spec | undefined>,
  wanted: Shape,
  why: string,
) {
  for (const [name, s] of Object.entries(given))
    if (s && show(s.shape) !== show(wanted))
      throw new ShapeError(
        `${name} is ${show(s.shape, s.dtype)} but must be ${show(wanted)} beside x ${show(x.shape, x.dtype)}`,
        { op, hint: why },
      );
}

export function checkNorm(op: string, { eps, outDtype }: NormAttrs): void {
  if (!(Number.isFinite(eps) && eps >= 0))
    throw new ArgumentError(`eps is ${eps}`, { op, hint: 'it is a finite number, not below 0' });
  if (outDtype !== '' && !(floatDTypes as readonly string[]).includes(outDtype))
    throw new ArgumentError(`outDtype '${String(outDtype)}' is not a dtype that ${op} makes`, {
      op,
      hint: `use one of ${floatDTypes.join(', ')}, or '' for that of x`,
    });
}
