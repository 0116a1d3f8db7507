/**
 * Hyperbolic space of curvature -c as the ball c |x|² < 1, by Möbius addition (Ganea et al., NeurIPS 2018). Points and
 * tangents are [..., D] and broadcast; gradients flow. Near the boundary 1 - c |x|² has no digits left: in float32 for
 * radii to 8, in float64 to 38; pseudo-polar.ts has no such limit.
 */
import { add, asinh, div, greater, lessEqual, mul, neg, sub, tanh, where } from '../ops/index.js';
import { ArgumentError } from '../runtime/errors.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { lift } from './lorentz.js';
import {
  type Curvature,
  checkPoints,
  curvatureOf,
  dot,
  flat,
  over,
  part,
  quotient,
  root,
  times,
} from './smooth.js';

/** 1 - c |x|²: 2 over the conformal factor. */
const gap = (x: Tensor, c: Curvature): Tensor => add(neg(times(dot(x, x), c)), 1);
const norm = (x: Tensor): Tensor => root(dot(x, x));

/** artanh(t) for 0 <= t < 1, through t / √(1 - t²): no logarithm of a quotient near 1. */
const artanh = (t: Tensor): Tensor => asinh(div(t, root(mul(sub(1, t), add(t, 1)))));

/**
 * x ⊕ y = ((1 + 2c x·y + c|y|²) x + (1 - c|x|²) y) / (1 + 2c x·y + c²|x|²|y|²): neither commutative nor associative;
 * (-x) ⊕ (x ⊕ y) = y.
 */
export function mobiusAdd(x: Tensor, y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.mobiusAdd', 1, { x, y });
  return scope(() => {
    curvatureOf('poincare.mobiusAdd', c);
    const xx = times(dot(x, x), c);
    const yy = times(dot(y, y), c);
    const both = add(mul(times(dot(x, y), c), 2), 1); // 1 + 2c x·y
    const sum = add(mul(add(both, yy), x), mul(sub(1, xx), y));
    return div(sum, add(both, mul(xx, yy)));
  });
}

/** d(x, y) = 2/√c arsinh(√c |x - y| / √((1 - c|x|²)(1 - c|y|²))): [...]. Its gradient at x = y is 0. */
export function distance(x: Tensor, y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.distance', 1, { x, y });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.distance', c);
    const s = div(times(norm(sub(x, y)), sqrtC), root(mul(gap(x, c), gap(y, c))));
    return flat(over(mul(asinh(s), 2), sqrtC));
  });
}

/** x ⊕ tanh(√c λ |v| / 2) v / (√c |v|), λ = 2 / (1 - c|x|²): v in the ball's own coordinates, its length is λ |v|. */
export function exp(x: Tensor, v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.exp', 1, { x, v });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.exp', c);
    const n = times(norm(v), sqrtC);
    const g = gap(x, c);
    const half = div(n, g); // √c λ |v| / 2
    return mobiusAdd(x, mul(div(quotient(tanh(half), half), g), v), c);
  });
}

/** The tangent at x that exp takes to y: (2 / (√c λ)) artanh(√c |w|) w / |w|, w = (-x) ⊕ y. */
export function log(x: Tensor, y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.log', 1, { x, y });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.log', c);
    const w = mobiusAdd(neg(x), y, c);
    const n = times(norm(w), sqrtC);
    return mul(mul(gap(x, c), quotient(artanh(n), n)), w);
  });
}

/** exp at the origin: tanh(√c |v|) v / (√c |v|). The ball's own |v| is half the length of v there. */
export function expOrigin(v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.expOrigin', 1, { v });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.expOrigin', c);
    const n = times(norm(v), sqrtC);
    return mul(quotient(tanh(n), n), v);
  });
}

/** log at the origin: artanh(√c |y|) y / (√c |y|). */
export function logOrigin(y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.logOrigin', 1, { y });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.logOrigin', c);
    const n = times(norm(y), sqrtC);
    return mul(quotient(artanh(n), n), y);
  });
}

/** v at x carried along the geodesic to y: gyr[y, -x] v scaled by (1 - c|y|²) / (1 - c|x|²). */
export function transport(x: Tensor, y: Tensor, v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.transport', 1, { x, y, v });
  return scope(() => {
    curvatureOf('poincare.transport', c);
    return mul(gyration(y, neg(x), v, c), div(gap(y, c), gap(x, c)));
  });
}

/**
 * gyr[a, b] v = -(a ⊕ b) ⊕ (a ⊕ (b ⊕ v)), the rotation by which ⊕ fails to associate, written out so that it is linear
 * in v: v + 2 (A a + B b) / D (Ungar, "A Gyrovector Space Approach to Hyperbolic Geometry", 2009).
 */
function gyration(a: Tensor, b: Tensor, v: Tensor, c: Curvature): Tensor {
  const [aa, bb, ab, av, bv] = [dot(a, a), dot(b, b), dot(a, b), dot(a, v), dot(b, v)].map((s) =>
    times(s, c),
  );
  const both = add(mul(ab!, 2), 1);
  // A = -c² a·v |b|² + c b·v + 2c² a·b b·v;  B = -c² b·v |a|² - c a·v;  D = 1 + 2c a·b + c²|a|²|b|²
  const A = sub(mul(both, bv!), mul(av!, bb!));
  const B = neg(add(mul(bv!, aa!), av!));
  const D = add(both, mul(aa!, bb!));
  return add(v, div(mul(add(mul(A, a), mul(B, b)), 2), D));
}

/** x, drawn back to √c |x| <= 1 - margin where it lies beyond: 4e-3 suits float32, 1e-5 float64. */
export function project(x: Tensor, c: Curvature = 1, margin = 4e-3): Tensor {
  checkPoints('poincare.project', 1, { x });
  if (!(margin > 0 && margin < 1))
    throw new ArgumentError(`margin is ${String(margin)}`, {
      op: 'poincare.project',
      hint: 'it is between 0 and 1',
    });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.project', c);
    const n = times(norm(x), sqrtC);
    const out = greater(n, 1 - margin);
    return where(out, mul(x, div(1 - margin, where(lessEqual(n, 1 - margin), 1, n))), x);
  });
}

/** The point of the hyperboloid, [..., D + 1]: over 2 x / (1 - c|x|²). */
export function toLorentz(x: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.toLorentz', 1, { x });
  return scope(() => lift(div(mul(x, 2), gap(x, c)), c));
}

/** Of a point of the hyperboloid, [..., D + 1]: z / (1 + √c x₀). */
export function fromLorentz(x: Tensor, c: Curvature = 1): Tensor {
  checkPoints('poincare.fromLorentz', 2, { x });
  return scope(() => {
    const { sqrtC } = curvatureOf('poincare.fromLorentz', c);
    return div(part(x, 1, x.shape.at(-1)!), add(times(part(x, 0, 1), sqrtC), 1));
  });
}
