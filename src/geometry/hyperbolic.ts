/** Hyperbolic space in three models, as pure functions over ops. */
export * as lorentz from './lorentz.js';
export * as poincare from './poincare.js';
export type { Polar } from './pseudo-polar.js';
export * as polar from './pseudo-polar.js';
export type { Curvature } from './smooth.js';
