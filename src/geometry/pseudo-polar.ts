/**
 * Hyperbolic space of curvature -c in polar coordinates of its origin (Gulcehre et al., ICLR 2019, arXiv:1805.09786): a
 * point is its distance r [..., 1] from the origin and a direction u [..., D] of length 1. Distances keep float32's
 * precision at every radius, which neither the ball nor the hyperboloid does; rotations of u are isometries, so rotary
 * positions turn u alone.
 */
import { add, asinh, concat, div, mul, sinh, square, sub, tanh } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type Curvature,
  checkPoints,
  coshOf,
  curvatureOf,
  dot,
  flat,
  over,
  part,
  quotient,
  root,
  times,
} from './smooth.js';

export interface Polar {
  /** Distance from the origin, [..., 1]. */
  r: Tensor;
  /** Direction, [..., D], of length 1; any where r is 0. */
  u: Tensor;
}

function checkPolar(op: string, points: Record<string, Polar>): void {
  checkPoints(op, 1, Object.fromEntries(Object.entries(points).map(([name, p]) => [`${name}.u`, p?.u])));
  for (const [name, { r, u }] of Object.entries(points)) {
    checkPoints(op, 1, { [`${name}.r`]: r });
    if (r.rank !== u.rank || r.shape.at(-1) !== 1)
      throw new ShapeError(`${name}: r is ${show(r.shape)}, u is ${show(u.shape)}`, {
        op,
        hint: 'r is [..., 1], a radius for each direction u [..., D]',
      });
  }
}

/** d by sinh²(√c d/2) = sinh²(√c (r₁ - r₂)/2) + sinh(√c r₁) sinh(√c r₂) |u₁ - u₂|²/4: [...]. At a = b its gradient is 0. */
export function distance(a: Polar, b: Polar, c: Curvature = 1): Tensor {
  checkPolar('polar.distance', { a, b });
  return scope(() => {
    const { sqrtC } = curvatureOf('polar.distance', c);
    const gap = sub(a.u, b.u);
    const radial = square(sinh(times(mul(sub(a.r, b.r), 0.5), sqrtC)));
    const angular = mul(mul(sinh(times(a.r, sqrtC)), sinh(times(b.r, sqrtC))), mul(dot(gap, gap), 0.25));
    return flat(over(mul(asinh(root(add(radial, angular))), 2), sqrtC));
  });
}

/**
 * exp at the origin of z [..., D]: r = |z|, u = z/|z|. With `bound` (8 suits float32) r = bound · tanh(|z|/bound), so
 * that no input leaves the range where sinh r is harmless. z = 0 has u = 0.
 */
export function fromTangent(z: Tensor, { bound }: { bound?: number } = {}): Polar {
  checkPoints('polar.fromTangent', 1, { z });
  if (bound !== undefined && !(bound > 0 && Number.isFinite(bound)))
    throw new ArgumentError(`bound is ${String(bound)}`, {
      op: 'polar.fromTangent',
      hint: 'it is a positive radius',
    });
  return scope(() => {
    const n = root(dot(z, z));
    return {
      r: bound === undefined ? n : mul(tanh(div(n, bound)), bound),
      u: quotient(z, n, 0),
    };
  });
}

/** log at the origin: r u. */
export function toTangent(point: Polar): Tensor {
  checkPolar('polar.toTangent', { point });
  return mul(point.r, point.u);
}

/** (cosh √c r, sinh √c r u) / √c on the hyperboloid, [..., D + 1]. */
export function toLorentz(point: Polar, c: Curvature = 1): Tensor {
  checkPolar('polar.toLorentz', { point });
  return scope(() => {
    const { sqrtC } = curvatureOf('polar.toLorentz', c);
    const s = sinh(times(point.r, sqrtC));
    return over(concat([coshOf(s), mul(s, point.u)], { axis: -1 }), sqrtC);
  });
}

/** Of a point of the hyperboloid, [..., D + 1]: √c r = arsinh(√c |z|), u = z/|z|. */
export function fromLorentz(x: Tensor, c: Curvature = 1): Polar {
  checkPoints('polar.fromLorentz', 2, { x });
  return scope(() => {
    const { sqrtC } = curvatureOf('polar.fromLorentz', c);
    const z = part(x, 1, x.shape.at(-1)!);
    const { r, u } = fromTangent(z);
    return { r: over(asinh(times(r, sqrtC)), sqrtC), u };
  });
}

/** tanh(√c r/2) u / √c in the ball, [..., D]. */
export function toPoincare(point: Polar, c: Curvature = 1): Tensor {
  checkPolar('polar.toPoincare', { point });
  return scope(() => {
    const { sqrtC } = curvatureOf('polar.toPoincare', c);
    return over(mul(tanh(times(mul(point.r, 0.5), sqrtC)), point.u), sqrtC);
  });
}
