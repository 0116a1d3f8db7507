/**
 * Hyperbolic space of curvature -c as the upper sheet of the hyperboloid ⟨x, x⟩ = -1/c in R^{D+1}, with
 * ⟨x, y⟩ = -x₀ y₀ + Σ xᵢ yᵢ (Nickel and Kiela, ICML 2018). Points and tangents are [..., D + 1] and broadcast; all
 * functions are made of ops, so gradients flow. Differences stand in place of products wherever points may be close:
 * arcosh(-⟨x, y⟩) loses all below √ε. In float32 use it for radii to 3, and pseudo-polar.ts beyond.
 */
import { add, asinh, concat, div, matmul, mul, neg, sinh, sqrt, sub } from '../ops/index.js';
import { scope } from '../tensor/scope.js';
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

const space = (x: Tensor): Tensor => part(x, 1, x.shape.at(-1)!);
const time = (x: Tensor): Tensor => part(x, 0, 1);
const product = (x: Tensor, y: Tensor): Tensor => sub(dot(space(x), space(y)), mul(time(x), time(y)));
const selfProduct = (v: Tensor): Tensor => product(v, v);

/** ⟨x, y⟩ = -x₀ y₀ + Σ xᵢ yᵢ: [...]. Bilinear for all vectors, on the hyperboloid or not. */
export function inner(x: Tensor, y: Tensor): Tensor {
  checkPoints('lorentz.inner', 2, { x, y });
  return scope(() => flat(product(x, y)));
}

/** The point over z [..., D]: (√(1/c + |z|²), z). */
export function lift(z: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.lift', 1, { z });
  return scope(() => {
    curvatureOf('lorentz.lift', c);
    const height = typeof c === 'number' ? add(dot(z, z), 1 / c) : add(dot(z, z), div(1, c));
    return concat([sqrt(height), z], { axis: -1 });
  });
}

/** The point of the hyperboloid over x's coordinates of space: mends what rounding did to a point. */
export const project = (x: Tensor, c: Curvature = 1): Tensor => {
  checkPoints('lorentz.project', 2, { x });
  return scope(() => lift(space(x), c));
};

/** The part of v that is tangent at x: v + c ⟨x, v⟩ x. It keeps tangents as they are, their length included. */
export function tangent(x: Tensor, v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.tangent', 2, { x, v });
  return scope(() => add(v, mul(times(product(x, v), c), x)));
}

/** c ⟨x - y, x - y⟩ / 4 = sinh²(√c d / 2), never negative in exact arithmetic. */
function halfChord(x: Tensor, y: Tensor, sqrtC: Curvature): Tensor {
  return mul(times(root(selfProduct(sub(x, y))), sqrtC), 0.5);
}

/** d(x, y) = 2/√c arsinh(√c/2 √⟨x - y, x - y⟩): [...]. Its gradient at x = y is 0. */
export function distance(x: Tensor, y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.distance', 2, { x, y });
  return scope(() => {
    const { sqrtC } = curvatureOf('lorentz.distance', c);
    return flat(over(mul(asinh(halfChord(x, y, sqrtC)), 2), sqrtC));
  });
}

/** The point that the geodesic from x along the tangent v reaches: cosh(n) x + sinh(n)/n v, n = √c |v|; lifted again. */
export function exp(x: Tensor, v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.exp', 2, { x, v });
  return scope(() => {
    const { sqrtC } = curvatureOf('lorentz.exp', c);
    const n = times(root(selfProduct(v)), sqrtC);
    const s = sinh(n);
    return project(add(mul(coshOf(s), x), mul(quotient(s, n), v)), c);
  });
}

/** The tangent at x that exp takes to y: of length d(x, y). */
export function log(x: Tensor, y: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.log', 2, { x, y });
  return scope(() => {
    const { sqrtC } = curvatureOf('lorentz.log', c);
    const s = halfChord(x, y, sqrtC); // sinh(√c d / 2)
    // w = y + c ⟨x, y⟩ x = (y - x) - 2 s² x has length sinh(√c d)/√c, and sinh(2 a) = 2 s √(1 + s²).
    const w = sub(sub(y, x), mul(mul(mul(s, s), 2), x));
    return mul(div(quotient(asinh(s), s), coshOf(s)), w);
  });
}

/** v at x carried along the geodesic to y: v + c ⟨y, v⟩ / (1 - c ⟨x, y⟩) (x + y). Products of tangents stay. */
export function transport(x: Tensor, y: Tensor, v: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.transport', 2, { x, y, v });
  return scope(() => {
    const { sqrtC } = curvatureOf('lorentz.transport', c);
    const s = halfChord(x, y, sqrtC); // 1 - c ⟨x, y⟩ = 2 + 2 s²
    const share = div(times(product(y, v), c), add(mul(mul(s, s), 2), 2));
    return add(v, mul(share, add(x, y)));
  });
}

/** x scaled onto the hyperboloid, for time-like x: x / √(-c ⟨x, x⟩). */
export function normalize(x: Tensor, c: Curvature = 1): Tensor {
  checkPoints('lorentz.normalize', 2, { x });
  return scope(() => {
    const { sqrtC } = curvatureOf('lorentz.normalize', c);
    return div(x, times(root(neg(selfProduct(x))), sqrtC));
  });
}

/**
 * Weighted mean of points [..., N, D + 1] by weights [..., M, N] >= 0, not all 0 in a row: Σ wⱼ xⱼ, normalised. It is
 * the Einstein midpoint of the Klein model (Gulcehre et al., ICLR 2019), and indifferent to the scale of a row.
 */
export const midpoint = (weights: Tensor, x: Tensor, c: Curvature = 1): Tensor =>
  scope(() => normalize(matmul(weights, x), c));
