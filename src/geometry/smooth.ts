/** What the models of hyperbolic space share: roots and quotients whose gradients stay finite, and curvature. */
import { add, div, equal, lessEqual, mul, slice, sqrt, square, sum, where } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { show } from '../tensor/shape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * √q where q > 0, else 0 with gradient 0: what is a square loses its sign by rounding. The gradient is masked on the
 * input, since 0 · ∞ would be NaN on the output. NaN stays NaN.
 */
export function root(q: Tensor): Tensor {
  const none = lessEqual(q, 0);
  return where(none, 0, sqrt(where(none, 1, q)));
}

/** y / x, and `limit` where x is 0, there with gradient 0. */
export function quotient(y: Tensor, x: Tensor, limit = 1): Tensor {
  const none = equal(x, 0);
  return where(none, limit, div(y, where(none, 1, x)));
}

/** √(1 + s²): cosh by sinh, which loses nothing. */
export const coshOf = (sinh: Tensor): Tensor => sqrt(add(square(sinh), 1));

/** Σ x y over the last axis, which stays, with size 1. */
export const dot = (x: Tensor, y: Tensor): Tensor => sum(mul(x, y), { axis: -1, keepDims: true });

/** The last axis from `from` to `to`. */
export function part(x: Tensor, from: number, to: number): Tensor {
  const lead = x.shape.slice(0, -1);
  return slice(x, { starts: [...lead.map(() => 0), from], ends: [...lead, to] });
}

/** Without the last axis, whose size is 1. */
export const flat = (x: Tensor): Tensor => x.reshape(x.shape.slice(0, -1));

/** The curvature is -c: a number, or a tensor that broadcasts with scalars [..., 1] of the points. */
export type Curvature = number | Tensor;

/** c and √c, checked where c is a number. */
export function curvatureOf(op: string, c: Curvature): { c: Curvature; sqrtC: Curvature } {
  if (c instanceof Tensor) return { c, sqrtC: sqrt(c) };
  if (!(c > 0) || !Number.isFinite(c))
    throw new ArgumentError(`c is ${String(c)}`, {
      op,
      hint: 'the curvature is -c: c is a positive number, or a tensor of them',
    });
  return { c, sqrtC: Math.sqrt(c) };
}

/** x k, at no cost where k is 1. */
export const times = (x: Tensor, k: Curvature): Tensor => (k === 1 ? x : mul(x, k));
/** x / k, at no cost where k is 1. */
export const over = (x: Tensor, k: Curvature): Tensor => (k === 1 ? x : div(x, k));

export function checkPoints(op: string, least: number, points: Record<string, Tensor>): void {
  const entries = Object.entries(points);
  const size = entries[0]![1]?.shape?.at(-1);
  for (const [name, x] of entries) {
    if (!(x instanceof Tensor))
      throw new ArgumentError(`'${name}' is no tensor`, { op, hint: 'make one with tensor(values)' });
    if (x.rank < 1 || x.shape.at(-1)! < least || x.shape.at(-1) !== size)
      throw new ShapeError(entries.map(([n, t]) => `${n} ${show(t.shape)}`).join(', '), {
        op,
        hint: `the last axis holds the coordinates, ${least} or more, as many in all`,
      });
  }
}
