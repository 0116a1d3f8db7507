/**
 * Holographic reduced representations (Plate, "Holographic reduced representations", IEEE TNN 1995): vectors that are
 * bound by circular convolution, so that a sum of bound pairs can be asked for the partner of one of them. Circular
 * convolution is a product of spectra; vectors that are spectra to begin with (FHRR) need no transform.
 *
 * Vectors lie along the last axis. Complex ones are halves: real parts, then as many imaginary ones.
 */
import { within } from '../autograd/modes.js';
import { add, concat, div, matmul, maximum, mul, neg, slice, sqrt, square, sub } from '../ops/index.js';
import { ArgumentError, ShapeError } from '../runtime/errors.js';
import type { Runtime } from '../runtime/runtime.js';
import { keep, scope } from '../tensor/scope.js';
import { show } from '../tensor/shape.js';
import { type Tensor, tensor } from '../tensor/tensor.js';

/** Least modulus that `unitary` divides by. */
const LEAST_MODULUS = 1e-6;

/** Real and imaginary parts of z [..., 2 F], each [..., F]. */
export function parts(z: Tensor, op = 'parts'): [re: Tensor, im: Tensor] {
  const last = z.shape.at(-1);
  if (last === undefined || last % 2 !== 0)
    throw new ShapeError(`z is ${show(z.shape)}`, {
      op,
      hint: 'its last axis holds real parts, then as many imaginary ones',
    });
  const starts = [...z.shape.slice(0, -1).map(() => 0), last / 2];
  return [slice(z, { ends: [...z.shape.slice(0, -1), last / 2] }), slice(z, { starts })];
}

/** Of its parts. */
export const complex = (re: Tensor, im: Tensor): Tensor => concat([re, im], { axis: -1 });

/** a b, frequency by frequency: binding where vectors are spectra. */
export function multiply(a: Tensor, b: Tensor): Tensor {
  return scope(() => {
    const [[ar, ai], [br, bi]] = [parts(a, 'multiply'), parts(b, 'multiply')];
    return complex(sub(mul(ar, br), mul(ai, bi)), add(mul(ar, bi), mul(ai, br)));
  });
}

/** The complex conjugate: the inverse where all moduli are 1, and Plate's approximate one where they are not. */
export function conjugate(z: Tensor): Tensor {
  return scope(() => {
    const [re, im] = parts(z, 'conjugate');
    return complex(re, neg(im));
  });
}

/** z / max(|z|, 1e-6), frequency by frequency: what is bound to it keeps its length, and is unbound exactly. */
export function phasors(z: Tensor): Tensor {
  return scope(() => {
    const [re, im] = parts(z, 'phasors');
    // Of squares, whose gradient is finite at 0.
    const modulus = sqrt(maximum(add(square(re), square(im)), LEAST_MODULUS ** 2));
    return complex(div(re, modulus), div(im, modulus));
  });
}

/** Matrices of the discrete Fourier transform of d real numbers: [d, 2 F] and back [2 F, d], F = ⌊d / 2⌋ + 1. */
interface Transform {
  there: Tensor;
  back: Tensor;
}
const transforms = new WeakMap<Runtime, Map<number, Transform>>();

function transformOf(d: number, runtime: Runtime): Transform {
  let known = transforms.get(runtime);
  if (!known) transforms.set(runtime, (known = new Map()));
  let transform = known.get(d);
  if (transform) return transform;
  const F = Math.floor(d / 2) + 1;
  const there = new Float32Array(d * 2 * F);
  const back = new Float32Array(2 * F * d);
  for (let i = 0; i < d; i++)
    for (let f = 0; f < F; f++) {
      const angle = (2 * Math.PI * ((i * f) % d)) / d;
      there[i * 2 * F + f] = Math.cos(angle);
      there[i * 2 * F + F + f] = -Math.sin(angle);
      back[f * d + i] = (multiplicity(f, d) * Math.cos(angle)) / d;
      back[(F + f) * d + i] = (-multiplicity(f, d) * Math.sin(angle)) / d;
    }
  transform = {
    there: keep(tensor(there, [d, 2 * F], { runtime })),
    back: keep(tensor(back, [2 * F, d], { runtime })),
  };
  known.set(d, transform);
  return transform;
}

/** How many of the d frequencies of a real vector frequency f stands for: its mirror image is not kept. */
export const multiplicity = (f: number, d: number): number => (f === 0 || 2 * f === d ? 1 : 2);

/** Sums over a vector are float32 also under autocast. */
const product = (x: Tensor, matrix: Tensor): Tensor =>
  within({ autocast: undefined }, 'hrr', () => matmul(x, matrix));

/** The spectrum of real vectors x [..., d]: frequencies 0 … ⌊d / 2⌋, [..., 2 (⌊d / 2⌋ + 1)]. */
export function spectrum(x: Tensor): Tensor {
  const d = x.shape.at(-1) ?? 0;
  if (d < 1)
    throw new ShapeError(`x is ${show(x.shape)}`, {
      op: 'spectrum',
      hint: 'vectors lie along its last axis',
    });
  return product(x, transformOf(d, x.runtime).there);
}

/** The real vectors [..., d] of such spectra. */
export function fromSpectrum(z: Tensor, d: number): Tensor {
  if (z.shape.at(-1) !== 2 * (Math.floor(d / 2) + 1))
    throw new ArgumentError(`z is ${show(z.shape)} but d is ${d}`, {
      op: 'fromSpectrum',
      hint: 'd numbers have ⌊d / 2⌋ + 1 frequencies',
    });
  return product(z, transformOf(d, z.runtime).back);
}

/** f of spectra, as a function of real vectors. */
const overSpectra =
  (f: (...z: Tensor[]) => Tensor) =>
  (...x: Tensor[]): Tensor =>
    scope(() => fromSpectrum(f(...x.map(spectrum)), x[0]!.shape.at(-1)!));

/** The circular convolution of real vectors, Σ_j x_j y_{i-j}: commutative, and unlike both of them. */
export const bind: (x: Tensor, y: Tensor) => Tensor = overSpectra(multiply as (...z: Tensor[]) => Tensor);

/** x_{-i}, so that bind(inverse(x), bind(x, y)) is y and noise; exactly y where x is unitary. */
export const inverse: (x: Tensor) => Tensor = overSpectra(conjugate as (...z: Tensor[]) => Tensor);

/** What was bound to y in b: bind(b, inverse(y)). */
export const unbind: (b: Tensor, y: Tensor) => Tensor = overSpectra((b, y) => multiply(b!, conjugate(y!)));

/** x with every frequency's modulus made 1. */
export const unitary: (x: Tensor) => Tensor = overSpectra(phasors as (...z: Tensor[]) => Tensor);
